package nbd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/lockstep-vm/lockstep/arbiter/cells"
)

// Cells are the arbiter's cells on a store: the test-and-set and the run record
// lie on the machine that keeps the blocks (R16, R19). Every call is a
// connection of its own.
type Cells struct {
	at     Address
	ctx    context.Context
	cancel context.CancelFunc
}

// OpenCells uses the cells of the store at HOST:PORT, or at unix:PATH. The
// store need not be reachable yet.
func OpenCells(address string) (*Cells, error) {
	network, path, err := ParseListen(address)
	if err != nil {
		return nil, err
	}
	c := &Cells{at: Address{Net: network, Path: path}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// call asks the store once, and keeps no connection.
func (c *Cells) call(call CellCall) ([]byte, error) {
	ctx, cancel := context.WithTimeout(c.ctx, silence)
	defer cancel()
	var have []byte
	answered := false
	err := once(ctx, c.at, OptCells, call.Append(nil), func(kind uint32, body []byte) error {
		if kind != RepCells || answered {
			return noData(kind, body)
		}
		have, answered = body, true
		return nil
	})
	if r := (refusal{}); errors.As(err, &r) && r.kind == RepErrUnsup {
		err = errors.New("it keeps no cells; use lockstep store --arbiter DIR")
	}
	if err == nil && !answered {
		err = errors.New("it gave no answer")
	}
	if err != nil {
		return nil, fmt.Errorf("the store at %s: %w", c.at.Path, err)
	}
	return have, nil
}

// once connects, asks one option, and leaves.
func once(ctx context.Context, at Address, option uint32, data []byte, each func(kind uint32, body []byte) error) error {
	conn, err := at.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	rw := struct {
		io.Reader
		io.Writer
	}{bufio.NewReader(conn), conn}
	if err := hello(rw); err != nil {
		return err
	}
	if err := ask(rw, option, data, each); err != nil {
		return err
	}
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write(Option{Type: OptAbort}.Append(nil))
	return nil
}

// Create is cells.Store's.
func (c *Cells) Create(vm, name string, content []byte) ([]byte, error) {
	if err := cells.Check(vm, name, content); err != nil {
		return nil, err
	}
	return c.call(CellCall{Op: CellCreate, VM: vm, Name: name, Content: content})
}

// Read is cells.Store's.
func (c *Cells) Read(vm, name string) ([]byte, error) {
	have, err := c.call(CellCall{Op: CellRead, VM: vm, Name: name})
	switch {
	case err != nil:
		return nil, err
	case len(have) == 1 && have[0] == 0:
		return nil, fs.ErrNotExist
	case len(have) == 0 || have[0] != 1:
		return nil, fmt.Errorf("the store at %s: an answer that is none", c.at.Path)
	}
	return have[1:], nil
}

// List is cells.Store's.
func (c *Cells) List(vm, prefix string) ([]string, error) {
	have, err := c.call(CellCall{Op: CellList, VM: vm, Name: prefix})
	if err != nil {
		return nil, err
	}
	var names []string
	for len(have) > 0 {
		name, rest, err := cutString(have)
		if err != nil {
			return nil, fmt.Errorf("the store at %s: %w", c.at.Path, err)
		}
		names, have = append(names, name), rest
	}
	return names, nil
}

// Ping is cells.Store's.
func (c *Cells) Ping() error {
	_, err := c.call(CellCall{Op: CellPing})
	return err
}

// Durable is cells.Store's.
func (c *Cells) Durable() (ok bool, why string) {
	have, err := c.call(CellCall{Op: CellDurable})
	if err != nil {
		return false, err.Error()
	}
	return len(have) == 0, printable(have)
}

// Outside is cells.Store's: what answers on this host lies on this host.
func (c *Cells) Outside() (ok bool, why string) {
	if c.at.Net == "unix" || Loopback(c.at.Path) {
		return false, "the store is on this host: it is lost with this host"
	}
	return true, ""
}

// Close is cells.Store's.
func (c *Cells) Close() error {
	c.cancel()
	return nil
}

// GiveUp releases the claim of the export at a, which must be held by vm. It is
// a person's order: whoever gives it has made sure that the VM is gone.
func GiveUp(ctx context.Context, a Address, vm string) error {
	err := once(ctx, a, OptRelease, Release{Export: a.Export, VM: vm}.Append(nil), noData)
	if r := (refusal{}); errors.As(err, &r) && r.kind == RepErrUnsup {
		return fmt.Errorf("nbd: %s is no export of a lockstep store, so nothing there is claimed", a)
	}
	if err != nil {
		return fmt.Errorf("nbd: release of %s: %w", a, err)
	}
	return nil
}
