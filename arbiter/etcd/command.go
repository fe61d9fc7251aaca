package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/lockstep-vm/lockstep/arbiter/remote"
)

// command is the command line of lockstep-etcd.
type command struct {
	Endpoints []string `help:"Serve as the driver for this etcd: URLs, with commas between." placeholder:"URL" xor:"what" required:""`
	Embedded  string   `help:"Be an etcd of one member that keeps its data in DIR; run it on a third host." placeholder:"DIR" xor:"what" required:""`
	Listen    string   `help:"As the driver: unix:PATH; without it, standard input and output. With --embedded: http://HOST:PORT or https://HOST:PORT."`
	Prefix    string   `help:"What keys begin with; the same at both hosts." default:"${prefix}"`
	CACert    string   `name:"cacert" type:"existingfile" help:"PEM file of the authority that signs the other side's certificates." placeholder:"FILE"`
	Cert      string   `type:"existingfile" help:"PEM file of this side's certificate." placeholder:"FILE"`
	Key       string   `type:"existingfile" help:"PEM file of the certificate's key." placeholder:"FILE"`
	User      string   `help:"User of etcd, if it asks for one."`
	Password  string   `name:"password-file" type:"existingfile" help:"File whose first line is the user's password." placeholder:"FILE"`
}

// Env is what the command has of its process.
type Env struct {
	Stdin          io.ReadCloser
	Stdout, Stderr io.Writer
}

// Main runs the command until ctx ends or, as a driver on standard input, that
// ends. It returns the exit status.
func Main(ctx context.Context, env Env, args []string) int {
	var c command
	exit := -1
	parser, err := kong.New(&c, kong.Name("lockstep-etcd"), kong.Vars{"prefix": DefaultPrefix},
		kong.Description("Keeps the claims and run records of Lockstep's VMs in etcd. In a spec: arbiter: exec:lockstep-etcd --endpoints URL"),
		kong.Writers(env.Stdout, env.Stderr), kong.Exit(func(code int) { exit = code }))
	if err != nil {
		panic("BUG: etcd: the command line's grammar: " + err.Error())
	}
	_, err = parser.Parse(args)
	if exit >= 0 { // --help
		return exit
	}
	if err != nil {
		_, _ = fmt.Fprintf(env.Stderr, "lockstep-etcd: %v\n", err)
		return 2
	}
	run := c.driver
	if c.Embedded != "" {
		run = c.member
	}
	if err := run(ctx, env); err != nil {
		_, _ = fmt.Fprintf(env.Stderr, "lockstep-etcd: %v\n", err)
		return 1
	}
	return 0
}

func (c *command) tls() TLS { return TLS{CA: c.CACert, Cert: c.Cert, Key: c.Key} }

// driver serves cells on a socket or on standard input and output.
func (c *command) driver(ctx context.Context, env Env) error {
	cfg := Config{Endpoints: c.Endpoints, Prefix: c.Prefix, TLS: c.tls(), User: c.User}
	if c.Password != "" {
		text, err := os.ReadFile(c.Password)
		if err != nil {
			return err
		}
		cfg.Password, _, _ = strings.Cut(string(text), "\n")
	}
	store, err := Open(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	if c.Listen == "" {
		// Not waited for when ctx ends: a read of standard input cannot be broken off.
		served := make(chan error, 1)
		go func() { served <- remote.Serve(stdio{env}, store) }()
		select {
		case err := <-served:
			return err
		case <-ctx.Done():
			return nil
		}
	}
	path, ok := strings.CutPrefix(c.Listen, "unix:")
	if !ok || path == "" {
		return fmt.Errorf("a driver listens on unix:PATH, not on %q", c.Listen)
	}
	l, err := listenUnix(path)
	if err != nil {
		return err
	}
	return remote.ServeAll(ctx, l, store)
}

// listenUnix listens on a socket that only this user can reach: who reaches it
// can win claims. A socket that nobody listens on is left over and replaced.
func listenUnix(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("another driver listens on %s", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path)
	}
	mask := syscall.Umask(0o177)
	defer syscall.Umask(mask)
	return net.Listen("unix", path)
}

// member is an etcd until ctx ends.
func (c *command) member(ctx context.Context, env Env) error {
	if c.Listen == "" {
		return errors.New("--embedded needs --listen http://HOST:PORT or https://HOST:PORT, where the drivers of both hosts reach it")
	}
	m, err := StartMember(ctx, MemberConfig{Dir: c.Embedded, Listen: c.Listen, TLS: c.tls()})
	if err != nil {
		return err
	}
	defer m.Close()
	_, _ = fmt.Fprintf(env.Stdout, "listening on %s\n", m.URL())
	select {
	case <-ctx.Done():
		return nil
	case err := <-m.Failed():
		return err
	}
}

// stdio is standard input and output as one stream.
type stdio struct{ env Env }

func (s stdio) Read(b []byte) (int, error)  { return s.env.Stdin.Read(b) }
func (s stdio) Write(b []byte) (int, error) { return s.env.Stdout.Write(b) }
func (s stdio) Close() error                { return s.env.Stdin.Close() }
