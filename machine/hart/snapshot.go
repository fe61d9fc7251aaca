package hart

import (
	"errors"
	"fmt"

	"github.com/lockstep-vm/lockstep/machine"
	"github.com/lockstep-vm/lockstep/machine/rv64"
	"github.com/lockstep-vm/lockstep/machine/snapshot"
)

// csrs are the 64-bit fields of State in the order in which they are saved.
func (s *State) csrs() []*uint64 {
	return []*uint64{
		&s.Lines, &s.Mip, &s.Mstatus, &s.Medeleg, &s.Mideleg, &s.Mie, &s.Mtvec, &s.Mscratch, &s.Mepc,
		&s.Mcause, &s.Mtval, &s.Mcounteren, &s.Mcountinhibit, &s.Menvcfg, &s.Stvec, &s.Scounteren,
		&s.Senvcfg, &s.Sscratch, &s.Sepc, &s.Scause, &s.Stval, &s.Satp, &s.Cycle, &s.Instret,
	}
}

// Save writes State.
func (h *Hart) Save(e *snapshot.Encoder) {
	s := &h.State
	e.Section("hart")
	for _, v := range s.X {
		e.U64(v)
	}
	for _, v := range s.F {
		e.U64(v)
	}
	e.U64(s.PC)
	e.U8(s.Priv)
	e.U64(uint64(s.Icount))
	e.Bool(s.Waiting)
	e.Bool(s.Reserved)
	e.U64(uint64(s.Reservation))
	e.U64(uint64(s.Clock.T0))
	e.U64(uint64(s.Clock.I0))
	e.U64(s.Clock.Mul)
	e.U64(uint64(s.Mtimecmp))
	e.U64(uint64(s.Stimecmp))
	for _, v := range s.csrs() {
		e.U64(*v)
	}
	for _, v := range s.Pmpaddr {
		e.U64(v)
	}
	for _, v := range s.Pmpcfg {
		e.U8(v)
	}
	e.U8(s.Fflags)
	e.U8(s.Frm)
}

// Load replaces State by what Save wrote, and drops every cache. After an
// error the hart is as it was.
func (h *Hart) Load(d *snapshot.Decoder) error {
	var s State
	d.Section("hart")
	for i := range s.X {
		s.X[i] = d.U64()
	}
	for i := range s.F {
		s.F[i] = d.U64()
	}
	s.PC = d.U64()
	s.Priv = d.U8()
	s.Icount = machine.Icount(d.U64())
	s.Waiting = d.Bool()
	s.Reserved = d.Bool()
	s.Reservation = machine.GPA(d.U64())
	s.Clock.T0 = machine.VTime(d.U64())
	s.Clock.I0 = machine.Icount(d.U64())
	s.Clock.Mul = d.U64()
	s.Mtimecmp = machine.VTime(d.U64())
	s.Stimecmp = machine.VTime(d.U64())
	for _, v := range s.csrs() {
		*v = d.U64()
	}
	for i := range s.Pmpaddr {
		s.Pmpaddr[i] = d.U64()
	}
	for i := range s.Pmpcfg {
		s.Pmpcfg[i] = d.U8()
	}
	s.Fflags = d.U8()
	s.Frm = d.U8()
	if err := d.Err(); err != nil {
		return fmt.Errorf("hart: %w", err)
	}
	if err := h.validate(&s); err != nil {
		return err
	}
	h.State = s
	h.DropCaches()
	return nil
}

// validate refuses what no run can lead to and execution relies on.
func (h *Hart) validate(s *State) error {
	mode := s.Satp >> 60
	switch {
	case s.X[0] != 0:
		return errors.New("hart: damaged snapshot: x0 is not zero")
	case (s.PC|s.Mepc|s.Sepc)&1 != 0:
		return errors.New("hart: damaged snapshot: pc or an exception's pc is odd")
	case s.Priv > rv64.MachineMode || s.Priv == 2:
		return fmt.Errorf("hart: damaged snapshot: there is no privilege mode %d", s.Priv)
	case s.Clock.I0 > s.Icount:
		return errors.New("hart: damaged snapshot: the clock starts after the position")
	case s.Reserved && (s.Reservation&3 != 0 || !h.ram.Contains(s.Reservation, 4)):
		return errors.New("hart: damaged snapshot: the reservation is not in RAM")
	case mode != satpBare && (mode < satpSv39 || mode > h.maxMode):
		return fmt.Errorf("hart: satp mode %d is not one that this machine has", mode)
	case s.Mstatus&^mstatusMask != 0 || s.Mstatus&rv64.StatusMPP == 2<<11:
		return errors.New("hart: damaged snapshot: impossible mstatus")
	case s.Medeleg&^medelegMask != 0 || s.Mideleg&^midelegMask != 0 || s.Mie&^uint64(mieMask) != 0 ||
		s.Mip&^uint64(midelegMask) != 0 || s.Lines&^uint64(mieMask) != 0:
		return errors.New("hart: damaged snapshot: impossible interrupt or delegation bits")
	case !legalPMPState(s):
		return errors.New("hart: damaged snapshot: impossible registers of PMP")
	case s.Fflags > 31 || s.Frm > 7:
		return errors.New("hart: damaged snapshot: impossible fcsr")
	case s.Mcounteren&^counterMask != 0 || s.Scounteren&^counterMask != 0 ||
		s.Mcountinhibit&^inhibitMask != 0 || s.Menvcfg&^uint64(menvcfgMask) != 0 || s.Senvcfg&^uint64(senvcfgMask) != 0 ||
		s.Menvcfg&rv64.EnvCBIE == 2<<4 || s.Senvcfg&rv64.EnvCBIE == 2<<4:
		return errors.New("hart: damaged snapshot: impossible counter or environment bits")
	}
	return nil
}

func legalPMPState(s *State) bool {
	for i := range s.Pmpcfg {
		if s.Pmpcfg[i] != legalPMP(s.Pmpcfg[i]) || s.Pmpaddr[i]&^uint64(pmpAddrMask) != 0 {
			return false
		}
	}
	return true
}
