package local

import (
	"fmt"

	"github.com/lockstep-vm/lockstep/ft"
)

// Plan says what a re-synchronisation compares.
type Plan struct {
	Full bool
	Why  string // why it is full
	// Common is the point that both maps count from; none if it is full.
	Common  Point
	Regions []uint64 // bits; of a full plan all
}

// has says whether the plan is about a region.
func (p *Plan) has(region uint64) bool { return p.Regions[region/64]&(1<<(region%64)) != 0 }

// MakePlan is the union of what either copy wrote since their last common point,
// as bits of regions, or everything if they have none. Each map counts from the
// Common of its Status; a copy that is prepared for a point has all of it as well.
func MakePlan(source, target Status, sourceMap, targetMap []uint64) (Plan, error) {
	if err := source.mayFeed(target); err != nil {
		return Plan{}, fmt.Errorf("storage: %w", err)
	}
	words := int((source.Regions + 63) / 64)
	p := Plan{Regions: make([]uint64, words)}
	plan := ft.PlanSync(source.Image(), target.Image())
	if p.Full, p.Common = plan.Full, plan.Common; p.Full {
		p.Why = plan.Why
	}
	if !p.Full && source.RegionSize != target.RegionSize {
		p.Full, p.Why = true, "their maps have regions of different sizes"
	}
	if !p.Full && (len(sourceMap) != words || len(targetMap) != words) {
		p.Full, p.Why = true, "a copy has no map"
	}
	for i := range p.Regions {
		if p.Full {
			p.Regions[i] = ^uint64(0)
		} else {
			p.Regions[i] = sourceMap[i] | targetMap[i]
		}
	}
	if tail := source.Regions % 64; tail != 0 {
		p.Regions[words-1] &= 1<<tail - 1
	}
	if p.Full {
		p.Common = Point{}
	}
	return p, nil
}

// mayFeed refuses pairs of copies that no re-synchronisation should touch.
func (s *Status) mayFeed(target Status) error {
	switch {
	case s.State != InUse:
		return fmt.Errorf("%w: copy %s is %s, and only one in use can be copied from", ErrInvalid, s.Copy, s.State)
	case s.VM != target.VM:
		return fmt.Errorf("%w: the source is of VM %q, the target of %q: give the backup an image of its own", ErrMismatch, s.VM, target.VM)
	case s.Copy == target.Copy:
		return fmt.Errorf("%w: both are copy %s: an image was copied with its sidecar; remove the sidecar of the backup's, and the image too", ErrMismatch, s.Copy)
	case s.Sectors != target.Sectors:
		return fmt.Errorf("%w: the source has %d sectors, the target %d: remove the backup's image and its sidecar, and it is made anew", ErrMismatch, s.Sectors, target.Sectors)
	case s.Gen.Pairing().Less(target.Gen):
		return fmt.Errorf("%w: the target's generation %s is later than the source's %s: the source is not the live VM's copy", ErrClaimed, target.Gen, s.Gen)
	}
	return nil
}
