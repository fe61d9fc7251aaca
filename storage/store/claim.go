package store

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/arbiter/cells"
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage/nbd"
)

// fenced is a refusal because of who holds the export.
type fenced struct {
	by   ft.Fence
	text string
}

func (f fenced) Error() string { return f.text }

// claim is the one place where an export gets a new owner (R19). When it returns
// nil, the number is durable, and no request of a connection before it can reach
// the file. The token belongs to the claim.
func (e *export) claim(f nbd.Fence) (token uint64, err error) {
	if err := cells.CheckVM(f.VM); err != nil {
		return 0, err
	}
	if e.readOnly {
		return 0, fmt.Errorf("export %q is read-only here; nobody can claim it", e.name)
	}
	e.claiming.Lock()
	defer e.claiming.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.refuses(f); err != nil {
		return 0, err
	}
	// The same process comes again when its connection was lost: what the old one
	// still has under way must not land after what the new one brings.
	e.expel(func(m *member) bool { return m.role != reader || m.vm != f.VM })
	next := record{VM: f.VM, Number: f.Number, Process: f.Process}
	if e.held == nil || *e.held != next {
		e.mu.Unlock()
		err := e.records.save(next)
		e.mu.Lock()
		if err != nil {
			return 0, fmt.Errorf("export %q: the claim cannot be written down: %w", e.name, err)
		}
		e.held = &next
	}
	e.token++
	return e.token, nil
}

// refuses says why a claim cannot be.
func (e *export) refuses(f nbd.Fence) error {
	h := e.held
	switch {
	case h == nil:
		return nil
	case h.Released:
		if h.Process == f.Process {
			return fenced{h.Number, fmt.Sprintf("export %q was taken from this process by a person", e.name)}
		}
		return nil
	case h.VM != f.VM:
		return fenced{h.Number, e.belongs() + fmt.Sprintf(", and not to %s", f.VM)}
	case f.Number.Less(h.Number), f.Number == h.Number && h.Process != f.Process:
		return fenced{h.Number, e.belongs() + fmt.Sprintf("; this is number %v of another process", f.Number)}
	}
	return nil
}

// belongs says to whom the export belongs, and how it can be given up.
func (e *export) belongs() string {
	return fmt.Sprintf("export %q belongs to VM %s since number %v (a person who knows that this VM is gone for good gives it up with: lockstep store release --vm %s URL)",
		e.name, e.held.VM, e.held.Number, e.held.VM)
}

// attach lets a connection use the export in its role, or says why not. It waits
// for a claim that is being decided: nobody slips in between its steps.
func (e *export) attach(m *member) error {
	e.claiming.Lock()
	defer e.claiming.Unlock()
	if err := e.admit(m); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.members[m] = true
	return nil
}

// admit says why a connection could not use the export in its role.
func (e *export) admit(m *member) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.admits(m)
}

// admits says why a connection in this role cannot use the export. The lock is
// held.
func (e *export) admits(m *member) error {
	claimed := e.held != nil && !e.held.Released
	switch {
	case m.role == writer && m.token != e.token:
		return fenced{e.held.Number, e.belongs() + "; it was claimed anew meanwhile"}
	case m.role == reader && claimed && e.held.VM != m.vm:
		return fenced{e.held.Number, e.belongs() + fmt.Sprintf(", and not to %s", m.vm)}
	case m.role == plain && claimed:
		return fmt.Errorf("%s; a client without a fence number cannot use it", e.belongs())
	}
	return nil
}

// release gives the claim up: a person's order.
func (e *export) release(r nbd.Release) error {
	e.claiming.Lock()
	defer e.claiming.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held == nil || e.held.Released {
		return fmt.Errorf("export %q is not claimed", e.name)
	}
	if e.held.VM != r.VM {
		return fmt.Errorf("export %q belongs to VM %s, not to %s; nothing was released", e.name, e.held.VM, r.VM)
	}
	e.expel(func(*member) bool { return true })
	next := *e.held
	next.Released = true
	e.mu.Unlock()
	err := e.records.save(next)
	e.mu.Lock()
	if err != nil {
		return fmt.Errorf("export %q: the release cannot be written down: %w", e.name, err)
	}
	e.held = &next
	e.token++
	return nil
}
