package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/pprof"

	"github.com/alecthomas/kong"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/spec"
	"github.com/lockstep-vm/lockstep/vm"
)

// hostFlags are what run and backup share: this host's part of a VM.
type hostFlags struct {
	Advertise string `placeholder:"HOST:PORT" help:"Address at which the peer reaches this side's end of the logging channel, if it is not the one listened on."`
	Insecure  bool   `help:"Allow addresses beyond loopback although the logging channel, the switch and block stores (nbd://, store:) are not encrypted. Only on a network that you trust: who can write to the channel owns the guest."`
	Engine    string `enum:"auto,jit,interp,reference" default:"auto" help:"What executes the guest: jit (its code is translated into this host's), interp (it is interpreted), reference (interpreted without any cache, for comparison: very slow), or auto: jit where this host allows it, else interp. All do the same, and the peer may have another one."`
	Save      string `type:"path" placeholder:"FILE" help:"Where Ctrl-A s on the terminal and the signal SIGUSR1 write a snapshot of the running VM; the VM goes on. A file of that name is replaced. Without it Ctrl-A s writes NAME-POSITION.snapshot here, and SIGUSR1 ends this process as ever."`
	Profile   string `type:"path" hidden:"" help:"Write a CPU profile of this process to a file."`
	Control   bool   `hidden:"" help:"Read commands from file descriptor 3 and write events and status to 4, as JSON lines; end when 3 is closed."`
}

type runCommand struct {
	Spec string `arg:"" optional:"" type:"path" help:"The VM's spec (YAML)."`
	hostFlags
	Backup   string `placeholder:"HOST:PORT" help:"Address of the backup. The VM waits for it, its gate closed, and then runs protected."`
	Listen   string `placeholder:"HOST:PORT" default:"127.0.0.1:0" help:"Address of this side's end of the logging channel, which the backup dials back to resume."`
	TakeOver bool   `help:"Power on although the last run is not recorded as ended. Only after you have made sure, on both hosts, that no process of that run is left: two live copies of one VM destroy its disks."`
	UseCopy  string `enum:"current,backup,stale" default:"current" help:"Which copy of local disks this host may start the VM from. current: the one that the run record names and that lacks nothing. backup: also the backup's, though what the guest was told in its last moments may be missing; if the primary's copy is lost for good. stale: any copy, losing what was written since it was current; if no other is left."`
	Restore  string `type:"path" placeholder:"FILE" help:"Begin the run with the State of a snapshot instead of a boot. The raw images of the disks must be those of that moment."`
	Record   string `type:"path" placeholder:"FILE" help:"Write the log of a VM that runs alone, for lockstep replay."`
	elfFlags
}

type backupCommand struct {
	Spec string `arg:"" type:"path" help:"The VM's spec (YAML)."`
	hostFlags
	Listen string `required:"" placeholder:"HOST:PORT" help:"Address to wait on for the primary."`
	Record string `type:"path" placeholder:"FILE" help:"Write the log that this backup receives, and what it does after it has gone live, for lockstep replay --from: the State that the log begins with goes to FILE.snapshot."`
}

func (c *runCommand) Run(ctx context.Context, env Env, parsed *kong.Context) (err error) {
	if err := c.checkFlags(parsed); err != nil {
		return err
	}
	if c.ELF != "" {
		return c.elfFlags.run(ctx, env, c.Engine)
	}
	cfg, err := c.config(ctx, c.Spec)
	if err != nil {
		return err
	}
	cfg.Force, cfg.Restore = c.TakeOver, c.Restore
	cfg.Order = map[string]ft.Order{"backup": ft.OrderBackup, "stale": ft.OrderStale}[c.UseCopy]
	if c.Backup != "" {
		if c.Insecure && c.Advertise == "" && !loopback(c.Backup) && loopback(c.Listen) {
			return refused(fmt.Errorf("the backup at %s could not dial back to %s, which only this host reaches: give --listen HOST:PORT with an address that the backup's host reaches", c.Backup, c.Listen))
		}
		cfg.Peer, cfg.Listen = c.Backup, c.Listen
	}
	if c.Record != "" {
		f, err := os.Create(c.Record)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		cfg.Record = f
	}
	return c.drive(ctx, env, cfg, vm.PowerOn)
}

func (c *backupCommand) Run(ctx context.Context, env Env) (err error) {
	cfg, err := c.config(ctx, c.Spec)
	if err != nil {
		return err
	}
	cfg.Listen = c.Listen
	if c.Record != "" {
		f, err := os.Create(c.Record)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		cfg.Record, cfg.RecordState = f, c.Record+".snapshot"
	}
	return c.drive(ctx, env, cfg, vm.Follow)
}

// config is the replica's configuration as the spec and the flags say.
func (h *hostFlags) config(ctx context.Context, path string) (vm.Config, error) {
	v, err := spec.Load(path)
	if err != nil {
		return vm.Config{}, refused(err)
	}
	v.SizeOf = func(target string, readOnly bool) (uint64, error) {
		return vm.DiskSize(ctx, v.Name, target, readOnly, h.Insecure)
	}
	mc, err := v.Config()
	if err != nil {
		return vm.Config{}, refused(err)
	}
	cfg := vm.Config{
		Name: v.Name, Machine: mc, Arbiter: v.Arbiter,
		Advertise: h.Advertise, Insecure: h.Insecure, Engine: h.Engine,
		Heartbeat: v.Heartbeat, Timeout: v.Timeout, LagTarget: v.LagTarget,
	}
	for _, d := range v.Disks {
		cfg.Disks = append(cfg.Disks, vm.Disk{Path: d.Path, ReadOnly: d.ReadOnly, BackupReads: d.BackupReads, FlushBoth: d.FlushBoth})
	}
	for _, n := range v.NICs {
		cfg.NICs = append(cfg.NICs, vm.NIC{Switch: n.Switch})
	}
	return cfg, nil
}

// loopback says whether an address is one that only this host reaches.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "localhost" {
		return err == nil
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// drive makes the replica and runs it to its end, with the terminal as its
// console.
func (h *hostFlags) drive(ctx context.Context, env Env, cfg vm.Config, begin func(vm.Config) (*vm.Replica, error)) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	if h.Profile != "" {
		f, err := os.Create(h.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	face := newFace(env, h.Control)
	face.saveTo = h.Save
	face.see(&cfg)
	r, err := begin(cfg)
	if err != nil {
		return refused(err)
	}
	if addr := r.Addr(); addr != "" {
		face.say("listening on %s", addr)
	}
	detach := face.attach(ctx, r, end)
	defer detach()
	o, err := r.Run(ctx)
	return outcome(o, err)
}

// lineWriter ends the lines of a raw terminal.
type lineWriter struct{ w io.Writer }

func (l lineWriter) say(format string, args ...any) {
	fmt.Fprintf(l.w, "lockstep: "+format+"\r\n", args...)
}
