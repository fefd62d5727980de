package ntlm

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxLine bounds an answer in octets: a message in base64, and more.
const maxLine = 3 * maxMessage

// process is a helper that runs. One goroutine at a time asks it; end may come from any.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	words words
	done  chan struct{} // closed when it has ended
	ended atomic.Bool   // by end
}

// startProcess starts a helper with nothing of the server's environment but the path.
func startProcess(path string, arguments []string) (*process, error) {
	cmd := exec.Command(path, arguments...)
	cmd.Env, cmd.Dir = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}, "/"
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stderr, cmd.WaitDelay = &p.words, time.Second
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReaderSize(out, maxLine)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		cmd.Wait() // how it ended is told by its last words
		close(p.done)
	}()
	return p, nil
}

// ask sends a line and gives the next one, without its end.
func (p *process) ask(line string) (string, error) {
	if p.out.Buffered() > 0 {
		return "", errors.New("it answered what nobody asked")
	}
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return "", err
	}
	raw, err := p.out.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(raw[:len(raw)-1]), "\r"), nil
}

// end kills the process.
func (p *process) end() {
	if !p.ended.Swap(true) {
		p.cmd.Process.Kill()
	}
}

// wait waits until it has ended.
func (p *process) wait() { <-p.done }

// gone tells whether it has ended, or was told to.
func (p *process) gone() bool {
	select {
	case <-p.done:
		return true
	default:
		return p.ended.Load()
	}
}

// lastWords is the end of what it said on standard error.
func (p *process) lastWords() string { return p.words.String() }

// words keeps the last octets that were written.
type words struct {
	mu   sync.Mutex
	last []byte
}

const maxWords = 512

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = append(w.last, b...)
	if n := len(w.last) - maxWords; n > 0 {
		w.last = append(w.last[:0], w.last[n:]...)
	}
	return len(b), nil
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.ToValidUTF8(strings.TrimSpace(string(w.last)), "?")
}
