// Package citest is for tests that want more of a machine than Go: elsewhere they
// skip, in .ci/run they fail, which installs what they want.
package citest

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Running says whether .ci/run runs the tests.
func Running() bool { return os.Getenv("CI") == "true" }

// Unable ends a test that this machine is not equipped for.
func Unable(t testing.TB, why ...any) {
	t.Helper()
	if Running() {
		t.Fatal(why...)
	}
	t.Skip(why...)
}

// Program finds another program, which Debian has in a package.
func Program(t testing.TB, name, pkg string) (path string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Unable(t, fmt.Sprintf("%s is not installed (apt-get install %s)", name, pkg))
	}
	return path
}
