package cli

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/lockstep-vm/lockstep/cli/control"
	"github.com/lockstep-vm/lockstep/network"
)

type switchCommand struct {
	Listen       []string `required:"" placeholder:"ADDRESS" help:"Where VMs plug in: unix:PATH or tcp:HOST:PORT."`
	Forward      []string `placeholder:"HOST:PORT=GUEST:PORT" help:"Forward a port of this host to the guest."`
	Subnet       string   `placeholder:"PREFIX" help:"The guests' network (default 10.0.2.0/24)."`
	HostLoopback bool     `help:"Let guests reach this host's loopback at the gateway's address."`
	Insecure     bool     `help:"Allow TCP addresses beyond loopback although frames are not encrypted. Only on a network that you trust."`
	Control      bool     `hidden:"" help:"Write events to file descriptor 4 as JSON lines; end when 3 is closed."`
}

func (c *switchCommand) Run(ctx context.Context, env Env) error {
	cfg := network.SwitchConfig{Listen: c.Listen, Insecure: c.Insecure, HostLoopback: c.HostLoopback}
	for _, text := range c.Forward {
		f, err := network.ParseForward(text)
		if err != nil {
			return refused(err)
		}
		cfg.Forwards = append(cfg.Forwards, f)
	}
	if c.Subnet != "" {
		subnet, err := netip.ParsePrefix(c.Subnet)
		if err != nil {
			return refused(fmt.Errorf("--subnet: %w", err))
		}
		cfg.Subnet = subnet
	}
	say := lineWriter{env.Stderr}.say
	cfg.OnEvent = func(e network.SwitchEvent) { say("%s nic%d: %s: %s", e.VM, e.NIC, e.Kind, e.Text) }
	var out *control.Writer
	if c.Control {
		out = control.NewWriter()
		cfg.OnEvent = func(e network.SwitchEvent) { out.Write(control.Line{Switch: &e}) }
		go func() {
			_, _ = io.Copy(io.Discard, os.NewFile(control.Commands, "commands"))
			os.Exit(ExitFailed)
		}()
	}
	s, err := network.NewSwitch(cfg)
	if err != nil {
		return refused(err)
	}
	if out != nil {
		out.Write(control.Line{Forwards: s.ForwardAddresses()})
	}
	for _, a := range s.Addresses() {
		say("switch at %s", a)
	}
	for _, f := range s.Status().Forwards {
		say("forwarding %s to the guest's %s", f.Listen, f.Guest)
	}
	<-ctx.Done()
	return s.Close()
}
