package etcd

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/arbiter/arbitertest"
	"github.com/lockstep-vm/lockstep/ft"
)

// The texts that a person meets.
func TestCommandRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"":                              "--endpoints",
		"--endpoints a:1 --embedded /x": "can't be used together",
		"--endpoints a:1 --cert /none":  "no such file",
		"--endpoints http://a:1 --listen tcp:x:1":        "a driver listens on unix:PATH",
		"--endpoints http://a:1 --cacert " + file:        "certificates need https://",
		"--endpoints https://a:1,b:1":                    "https:// before every endpoint or before none",
		"--endpoints https://a:1 --cert " + file:         "come together",
		"--endpoints https://a:1 --cacert " + file:       "etcd: ",
		"--embedded " + t.TempDir():                      "--embedded needs --listen",
		"--embedded /dev/null/x --listen 127.0.0.1:0":    "write http://HOST:PORT or https://HOST:PORT",
		"--embedded /dev/null/x --listen https://a:1":    "needs a certificate and its key",
		"--embedded /dev/null/x --listen http://[::1]:0": "etcd: ",
	} {
		var out, errs bytes.Buffer
		code := Main(t.Context(), Env{Stdin: io.NopCloser(strings.NewReader("")), Stdout: &out, Stderr: &errs}, strings.Fields(line))
		if code == 0 || !strings.Contains(errs.String(), want) || !strings.HasPrefix(errs.String(), "lockstep-etcd: ") {
			t.Errorf("%q: exit status %d, %q; want something with %q", line, code, errs.String(), want)
		}
	}
}

// One driver on a socket serves many; a socket that is left over is replaced,
// one in use is not.
func TestDriverOnASocket(t *testing.T) {
	url, path := etcdURL(t), filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	_ = left.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	args := []string{"--endpoints", url, "--prefix", newPrefix(), "--listen", "unix:" + path}
	var errs bytes.Buffer
	go func() { ended <- Main(ctx, Env{Stdout: io.Discard, Stderr: &errs}, args) }()
	for { // until it listens
		conn, err := net.Dial("unix", path)
		if err == nil {
			_ = conn.Close()
			break
		}
		if len(ended) > 0 {
			t.Fatalf("the driver ended with %d: %s", <-ended, errs.String())
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is open to others: %v, %v", info.Mode(), err)
	}
	var second bytes.Buffer
	if code := Main(t.Context(), Env{Stdout: io.Discard, Stderr: &second}, args); code == 0 || !strings.Contains(second.String(), "another driver listens") {
		t.Errorf("a second driver: %d, %q", code, second.String())
	}
	cell := ft.Cell{VM: "web", Run: ft.Run{Ordinal: 1}, Epoch: 1}
	for i := range 3 {
		a := openArbiter(t, "unix:"+path)
		if owner, err := a.Claim(ft.Claim{Cell: cell, By: arbitertest.Process(i)}); err != nil || owner != arbitertest.Process(0) {
			t.Errorf("process %d: owner %v, %v", i, owner, err)
		}
		if ok, why := a.Outside(); ok || !strings.Contains(why, "on this host") {
			t.Errorf("an etcd on this host lies outside: %v, %q", ok, why)
		}
		if ok, _ := a.Durable(); !ok {
			t.Error("etcd is durable")
		}
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit status %d: %s", code, errs.String())
	}
}

func TestOutside(t *testing.T) {
	for endpoint, here := range map[string]bool{
		"http://127.0.0.1:2379": true, "localhost:2379": true, "[::1]:2379": true, "unix:///x": true,
		"https://192.0.2.3:2379": false, "192.0.2.3:2379": false, "https://no.such.host.invalid:2379": false,
	} {
		if got := onThisHost(endpoint); got != here {
			t.Errorf("%s on this host: %v", endpoint, got)
		}
	}
}
