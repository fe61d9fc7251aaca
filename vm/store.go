package vm

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage"
	"github.com/lockstep-vm/lockstep/storage/nbd"
)

// openArbiter opens the arbiter that the configuration names. A block store
// keeps one beside its blocks.
func (c *Config) openArbiter() (arbiter.Arbiter, error) {
	address, ok := strings.CutPrefix(c.Arbiter, "store:")
	if !ok {
		return arbiter.Open(c.Arbiter)
	}
	network, at, err := nbd.ParseListen(address)
	if err != nil {
		return nil, fmt.Errorf("vm: arbiter %s: %w", c.Arbiter, err)
	}
	if err := reachable(network, at, c.Insecure); err != nil {
		return nil, fmt.Errorf("vm: arbiter %s: %w", c.Arbiter, err)
	}
	cells, err := nbd.OpenCells(address)
	if err != nil {
		return nil, err
	}
	return arbiter.Over(cells), nil
}

// reachable refuses a block store on another host unless that is allowed.
func reachable(network, at string, insecure bool) error {
	if network == "tcp" && !insecure && !nbd.Loopback(at) {
		return fmt.Errorf("%s is not a loopback address, and NBD is neither encrypted nor authenticated; "+
			"allow that with --insecure, only on a network that you trust", at)
	}
	return nil
}

// openers are those of disks that are URLs.
func (r *Replica) openers() storage.Openers {
	all := storage.Openers{}
	for _, scheme := range []string{"nbd", "nbd+unix"} {
		all[scheme] = func(target string, readOnly bool) (storage.Backend, error) {
			return openExport(r.ctx, target, readOnly, r.cfg.Insecure, nbd.Config{
				VM: r.cfg.Name, Process: r.self,
				Note: func(text string) { r.box.do(func() { r.event(EventNote, "%s", text) }) },
			})
		}
	}
	maps.Copy(all, r.cfg.Openers)
	return all
}

// openExport opens what an NBD server has. Nobody writes a read-only disk, so
// that its server need not know fence numbers.
func openExport(ctx context.Context, target string, readOnly, insecure bool, cfg nbd.Config) (*nbd.Client, error) {
	at, err := nbd.ParseURL(target)
	if err != nil {
		return nil, err
	}
	if err := reachable(at.Net, at.Path, insecure); err != nil {
		return nil, fmt.Errorf("vm: disk %s: %w", target, err)
	}
	cfg.Address, cfg.ReadOnly, cfg.Unfenced = at, readOnly, readOnly
	return nbd.Open(ctx, cfg)
}

// DiskSize asks a server for the size, in bytes, of a VM's disk that is a URL.
func DiskSize(ctx context.Context, vm, target string, readOnly, insecure bool) (uint64, error) {
	if scheme := storage.Scheme(target); scheme != "nbd" && scheme != "nbd+unix" {
		return 0, fmt.Errorf("vm: disk %s: a disk is a path, nbd://HOST/NAME or nbd+unix:///NAME?socket=PATH", target)
	}
	c, err := openExport(ctx, target, readOnly, insecure, nbd.Config{VM: vm, Process: ft.ProcessID{}})
	if err != nil {
		return 0, err
	}
	return c.Sectors() * 512, c.Close()
}
