// Package citest is for tests that want more of a machine than Go: elsewhere they
// skip, in .ci/run they fail, which installs what they want.
package citest

import (
	"os"
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
