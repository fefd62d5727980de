// Package browser drives Debian's Chromium for the tests: a person's steps on a
// page, pictures of it, and axe-core's judgement of its accessibility.
package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// stepTime bounds one step: a click and the page that follows.
const stepTime = 60 * time.Second

// Page is one tab of a browser with an empty profile. Its steps fail the test when
// they cannot be done within 20 s. One goroutine uses it.
type Page struct {
	t   testing.TB
	ctx context.Context

	mu     sync.Mutex
	faults []string // guarded by mu
}

// Open starts a browser with one tab of 1280 × 900 pixels that trusts any
// certificate. It ends with the test. Without Chromium the test fails in CI and is
// skipped elsewhere.
func Open(t testing.TB) *Page {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		missing(t, "chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.IgnoreCertErrors, chromedp.DisableGPU, chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.UserDataDir(t.TempDir()))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses otherwise
	}
	allocator, endBrowser := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, endTab := chromedp.NewContext(allocator)
	var reader sync.WaitGroup
	t.Cleanup(func() { endTab(); endBrowser(); reader.Wait() })
	p := &Page{t: t, ctx: ctx}
	// The browser lives as long as the context of its first step.
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	messages := chromedp.Console(ctx)
	reader.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || strings.EqualFold(string(m.Type), "error") || m.Source == "security" {
				p.mu.Lock()
				p.faults = append(p.faults, m.String())
				p.mu.Unlock()
			}
		}
	})
	return p
}

// missing ends a test that lacks a tool: a failure in CI, a skip elsewhere.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing: scripts/test-packages installs it", what)
	}
	t.Skipf("%s is missing: scripts/test-packages installs it", what)
}

// Faults gives what scripts and the content security policy complained of since
// the last call.
func (p *Page) Faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	faults := p.faults
	p.faults = nil
	return faults
}

// do runs one step within its time.
func do[T any](p *Page, what string, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepTime)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		p.t.Fatalf("%s: %v; the page is %s:\n%s", what, err, p.where(), p.shown())
	}
	return v
}

// where gives the page's address, and shown its text, for a test that failed.
func (p *Page) where() string { return try(p, `location.href`) }
func (p *Page) shown() string { return try(p, `document.body.innerText.slice(0, 3000)`) }

func try(p *Page, expression string) string {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		return err.Error()
	}
	return text
}

// Go opens an address and waits until its page is loaded.
func (p *Page) Go(url string) {
	p.t.Helper()
	do(p, "open "+url, chromedp.Navigate(url))
}

// Click clicks on what a CSS selector finds first.
func (p *Page) Click(selector string) {
	p.t.Helper()
	do(p, "click on "+selector, chromedp.Click(selector))
}

// Follow clicks and waits until another document is loaded.
func (p *Page) Follow(selector string) {
	p.t.Helper()
	p.Script(`document.documentElement.dataset.left = "1"; ""`)
	p.Click(selector)
	p.Wait(`document.readyState === "complete" && !document.documentElement.dataset.left`)
}

// Type replaces what stands in a field.
func (p *Page) Type(selector, text string) {
	p.t.Helper()
	p.Script(fmt.Sprintf(`document.querySelector(%q).value = ""`, selector))
	if text != "" {
		do(p, "type into "+selector, chromedp.SendKeys(selector, text))
	}
}

// Select chooses an option of a list by its value and says so to the page's scripts.
func (p *Page) Select(selector, value string) {
	p.t.Helper()
	p.Script(fmt.Sprintf(`(e => { e.value = %q; e.dispatchEvent(new Event("change", {bubbles: true})); return e.value })(document.querySelector(%q))`, value, selector))
}

// Text gives the visible text of what a selector finds first.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	return do(p, "read "+selector, chromedp.Text(selector))
}

// Value gives what stands in a field.
func (p *Page) Value(selector string) string {
	p.t.Helper()
	return do(p, "read "+selector, chromedp.Value(selector))
}

// Has tells whether a selector finds something now.
func (p *Page) Has(selector string) bool {
	p.t.Helper()
	return do(p, "look for "+selector, chromedp.Evaluate[bool](fmt.Sprintf(`document.querySelector(%q) !== null`, selector)))
}

// Script gives the text that an expression comes to.
func (p *Page) Script(expression string) string {
	p.t.Helper()
	return do(p, expression, chromedp.Evaluate[string](expression))
}

// Wait waits until an expression is true; across pages.
func (p *Page) Wait(expression string) {
	p.t.Helper()
	for end := time.Now().Add(stepTime); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression)) // fails between two pages
		cancel()
		if err == nil && ok {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("waiting for %s: %v; the page is %s:\n%s", expression, err, p.where(), p.shown())
		}
	}
}

// WaitText waits until a selector's text contains part.
func (p *Page) WaitText(selector, part string) {
	p.t.Helper()
	p.Wait(fmt.Sprintf(`(document.querySelector(%q)?.innerText ?? "").includes(%q)`, selector, part))
}

// URL gives the page's address.
func (p *Page) URL() string {
	p.t.Helper()
	return p.Script(`location.href`)
}

// Size sets the size of the window in CSS pixels.
func (p *Page) Size(width, height int64) {
	p.t.Helper()
	do(p, "resize", chromedp.EmulateViewport(width, height))
}

// Scheme makes the browser prefer "light" or "dark".
func (p *Page) Scheme(name string) {
	p.t.Helper()
	do(p, "scheme", func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
		})
		return chromedp.Void{}, err
	})
}

// Language makes the browser prefer a language, such as "de-DE".
func (p *Page) Language(tag string) {
	p.t.Helper()
	do(p, "language", func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": tag}})
		return chromedp.Void{}, err
	})
}

// Picture writes a PNG of the whole page.
func (p *Page) Picture(path string) {
	p.t.Helper()
	if err := os.WriteFile(path, do(p, "picture", chromedp.FullScreenshot(100)), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// Violation is a rule of axe-core that the page breaks.
type Violation struct {
	ID     string `json:"id"`
	Impact string `json:"impact"`
	Help   string `json:"help"`
	Nodes  []struct {
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// String gives a violation with the first places where it is.
func (v Violation) String() string {
	text := fmt.Sprintf("%s (%s): %s", v.ID, v.Impact, v.Help)
	for i, n := range v.Nodes {
		if i == 3 {
			text += fmt.Sprintf("\n  and %d more", len(v.Nodes)-i)
			break
		}
		text += "\n  " + n.HTML + "\n    " + strings.ReplaceAll(n.Summary, "\n", "\n    ")
	}
	return text
}

// Axe judges the page by the rules of WCAG 2.2 A and AA and axe-core's best
// practices. Without axe-core the test fails in CI and is skipped elsewhere.
func (p *Page) Axe() []Violation {
	p.t.Helper()
	source, err := os.ReadFile(axeFile())
	if err != nil {
		missing(p.t, "axe-core")
	}
	p.Script(string(source) + `; ""`)
	answer := do(p, "axe", chromedp.Evaluate[string](`axe.run(document, {resultTypes: ["violations"],
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(r => JSON.stringify(r.violations))`,
		chromedp.EvalAwaitPromise))
	var found []Violation
	if err := json.Unmarshal([]byte(answer), &found); err != nil {
		p.t.Fatal(err)
	}
	return found
}
