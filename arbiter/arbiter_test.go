package arbiter_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/arbiter/arbitertest"
	"github.com/lockstep-vm/lockstep/arbiter/remote"
)

// Every kind of arbiter that needs no other program passes the same tests; etcd
// does in its own room.
func TestArbiters(t *testing.T) {
	places := []struct {
		name  string
		place func(*testing.T) string // what a spec names
	}{
		{"directory", func(t *testing.T) string { return "file:" + filepath.Join(t.TempDir(), "arbiter") }},
		{"plain directory", func(t *testing.T) string { return t.TempDir() }},
		{"driver on a socket", driver},
	}
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			arbitertest.Run(t, func(t *testing.T) func() arbiter.Arbiter {
				name := p.place(t)
				return func() arbiter.Arbiter { return open(t, name) }
			})
		})
	}
}

func open(t *testing.T, name string) arbiter.Arbiter {
	t.Helper()
	a, err := arbiter.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// driver serves a store in memory on a socket.
func driver(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- remote.ServeAll(t.Context(), l, &arbitertest.Memory{}) }()
	t.Cleanup(func() {
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "unix:" + path
}

func TestOpenRefuses(t *testing.T) {
	for name, want := range map[string]string{
		"exec:":                               "write exec:COMMAND or unix:PATH",
		"unix: ":                              "write exec:COMMAND or unix:PATH",
		"unix:/nowhere/socket":                "is it running?",
		"exec:/nowhere/driver --x":            "not found",
		"exec:echo hello":                     "does not speak the protocol",
		"exec:echo 'no etcd' >&2":             "it closed the stream: no etcd",
		"exec:sh -c 'echo wrong >&2; exit 3'": "it closed the stream: exit status 3: wrong",
		`exec:echo '{"lockstep":"cells","version":99}'`: "take both from one release",
		`exec:echo '{"version":1}'`:                     "is no driver",
		"/dev/null/x":                                   "not a directory",
	} {
		a, err := arbiter.Open(name)
		if err == nil {
			_ = a.Close()
			t.Errorf("%s was opened", name)
			continue
		}
		if !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "arbiter: ") {
			t.Errorf("%s: %v; want something with %q", name, err, want)
		}
	}
}

// DESIGN R16: "The arbiter ... [is] not on a host of the pair where it matters;
// status says what a one-machine set-up survives".
func TestDirectoryOnThisHostIsNoThirdPlace(t *testing.T) {
	a := open(t, t.TempDir())
	if ok, why := a.Outside(); ok || !strings.Contains(why, "lost with this host") {
		t.Errorf("a directory of the tests lies outside: %v, %q", ok, why)
	}
}
