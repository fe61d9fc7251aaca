package network

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		in       string
		insecure bool
		ok       bool
	}{
		{"unix:/run/s", false, true},
		{"tcp:127.0.0.1:99", false, true},
		{"tcp:[::1]:99", false, true},
		{"tcp:localhost:99", false, true},
		{"tcp:192.0.2.1:99", false, false},
		{"tcp::99", false, false}, // every interface
		{"tcp:192.0.2.1:99", true, true},
		{"tcp:127.0.0.1", false, false},
		{"unix:", false, false},
		{"unix:/" + strings.Repeat("x", 107), false, false},
		{"udp:127.0.0.1:99", false, false},
		{"/run/s", false, false},
		{"", false, false},
	} {
		a, err := ParseAddress(c.in, c.insecure)
		if (err == nil) != c.ok || err == nil && a.String() != c.in {
			t.Errorf("%q (insecure %v): %v, %v", c.in, c.insecure, a, err)
		}
	}
}

func TestUnixSocketIsPrivateAndStaleOnesGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "s")
	a := Address{"unix", path}
	l, err := a.listen()
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]os.FileMode{filepath.Dir(path): 0o700, path: 0o600} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want %v", p, info.Mode().Perm(), err, want)
		}
	}
	if _, err := a.listen(); err == nil || !strings.Contains(err.Error(), "another switch") {
		t.Errorf("listening twice: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close() // as if killed
	again, err := a.listen()
	if err != nil {
		t.Fatalf("a left-over socket is in the way: %v", err)
	}
	again.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.listen(); err == nil {
		t.Error("listening where a file is")
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("the file is gone")
	}
}

func TestParseForward(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:80=10.0.2.15:8080": "127.0.0.1:80=10.0.2.15:8080",
		"127.0.0.1:0=6379":            "127.0.0.1:0=0.0.0.0:6379",
		"127.0.0.1:80":                "", "=": "", "80=80": "", "127.0.0.1:80=10.0.2.15": "", "127.0.0.1:80=0": "", "a:1=[::1]:1": "",
	} {
		f, err := ParseForward(in)
		if (err == nil) != (want != "") || err == nil && f.String() != want {
			t.Errorf("%q: %v, %v", in, f, err)
		}
	}
}

func TestSwitchRefusesBadConfiguration(t *testing.T) {
	dir := t.TempDir()
	for name, change := range map[string]func(*SwitchConfig){
		"nowhere to listen":   func(c *SwitchConfig) { c.Listen = nil },
		"open to the network": func(c *SwitchConfig) { c.Listen = []string{"tcp:0.0.0.0:0"} },
		"forward to nobody":   forwardTo("192.0.2.1:80"),
		"forward to gateway":  forwardTo("10.0.2.2:80"),
		"open forward":        func(c *SwitchConfig) { c.Forwards = []Forward{{Listen: "0.0.0.0:0"}} },
	} {
		cfg := SwitchConfig{Listen: []string{"unix:" + dir + "/s"}}
		change(&cfg)
		if s, err := NewSwitch(cfg); err == nil {
			s.Close()
			t.Errorf("%s: started", name)
		}
	}
}

func TestSwitchOverTCP(t *testing.T) {
	s := testSwitch(t, func(c *SwitchConfig) { c.Listen = append(c.Listen, "tcp:127.0.0.1:0") })
	unix := plugLive(t, s, "a", macA, 0)
	s.listeners[0], s.listeners[1] = s.listeners[1], s.listeners[0]
	tcp := plugLive(t, s, "b", macB, 0)
	for _, pair := range [][2]*NIC{{unix, tcp}, {tcp, unix}} {
		pair[0].Send(frameOf(broadcast, pair[0].cfg.MAC, "hello"))
		if got := textOf(expectFrame(t, pair[1])); got != "hello" {
			t.Errorf("got %q", got)
		}
	}
	next := plugLive(t, s, "b", macB, 1)
	expectEvent(t, tcp, NICRefused)
	next.Send(frameOf(broadcast, macB, "next"))
	if got := textOf(expectFrame(t, unix)); got != "next" {
		t.Errorf("got %q", got)
	}
}
