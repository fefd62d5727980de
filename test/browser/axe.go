package browser

import (
	"os"
	"path/filepath"
	"runtime"
)

// axeFile is where scripts/test-packages puts axe-core.
func axeFile() string {
	if path := os.Getenv("POSTERN_AXE"); path != "" {
		return path
	}
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", ".tools", "axe.min.js")
}
