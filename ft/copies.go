package ft

import "fmt"

// CopyID names the copy of a VM's local disks that lies on one host: all of its
// images together. It is made at random when the images are made, and is all
// zeros for a VM without local disks (DESIGN section 7).
type CopyID [16]byte

func (c CopyID) String() string { return fmt.Sprintf("%x", c[:4]) }

// Generation says how new a copy is: Number is PrimaryFence's for the two copies
// of a pairing and WinnerFence's for the copy of who has won a claim. An image
// carries one, the run record another. An image is marked, durably, before the
// record is asked to name it so: a copy that is current is never behind the
// record.
type Generation struct {
	Run    Run
	Number uint64
}

// PairGeneration is the generation of both copies of pairing e.
func PairGeneration(r Run, e Epoch) Generation { return Generation{r, PrimaryFence(r, e).Number} }

// WinnerGeneration is the generation of the one copy that claim e names.
func WinnerGeneration(r Run, e Epoch) Generation { return Generation{r, WinnerFence(r, e).Number} }

// Pairing is the generation of the pairing that a live copy of generation g is
// part of, or that of the next one. A copy that is as new and was never named has
// been prepared for it, and that pairing was cut off.
func (g Generation) Pairing() Generation {
	g.Number += g.Number % 2
	return g
}

// Less orders generations.
func (g Generation) Less(h Generation) bool {
	if g.Run.Ordinal != h.Run.Ordinal {
		return g.Run.Ordinal < h.Run.Ordinal
	}
	return g.Number < h.Number
}

func (g Generation) String() string { return fmt.Sprintf("%v.%d", g.Run, g.Number) }

// Copies are the current copies of a VM, as its run record names them. The
// record is a set of statements that are never changed: a power-on and every
// won claim name one copy, every pairing that is armed names two. What counts
// is the statement of the greatest generation (Later), so that one which
// reaches the arbiter late changes nothing.
type Copies struct {
	Gen     Generation
	Primary CopyID // of who won the last claim: lacks nothing that was released
	Backup  CopyID // zero if there is none
}

// ClaimedCopies is what the claim of epoch e names: the winner's copy alone, by
// the claim itself. Power-on is the claim of epoch 0.
func ClaimedCopies(r Run, e Epoch, winner CopyID) Copies {
	return Copies{Gen: WinnerGeneration(r, e), Primary: winner}
}

// ArmedCopies is what is recorded before Arm(e) is appended: the backup's copy
// is added.
func ArmedCopies(r Run, e Epoch, primary, backup CopyID) Copies {
	return Copies{Gen: PairGeneration(r, e), Primary: primary, Backup: backup}
}

// Later is the one of two statements of the run record that counts.
func (c Copies) Later(d Copies) Copies {
	if c.Gen.Less(d.Gen) {
		return d
	}
	return c
}

// Point is a common point: a moment of the disks' history that two copies had,
// durably, alike but for what their write-intent maps say. Both maps count from
// it. Zero is none.
type Point struct {
	Gen Generation
	// ID is made at random by the primary for each attempt: an epoch that was
	// not armed may be begun again, with another copy.
	ID [16]byte
}

// None says that there is no common point.
func (p Point) None() bool { return p == Point{} }

func (p Point) String() string {
	if p.None() {
		return "none"
	}
	return fmt.Sprintf("%s/%x", p.Gen, p.ID[:4])
}

// Image is what a copy says of itself, beside its blocks. Several disks of one
// copy say the same; if they do not, the copy is as one with Syncing.
type Image struct {
	ID  CopyID
	Gen Generation // zero if no VM ever ran on it
	// Syncing: a synchronisation towards this copy has begun and did not end.
	// It is no disk; another synchronisation repairs it.
	Syncing bool
	// Since is the common point from which on its write-intent map is complete;
	// zero if there is no map or it is damaged.
	Since Point
	// Prepared is a later common point that the copy has, durably, without having
	// heard that the other one has it too; its map counts from Since yet. Zero is
	// none.
	Prepared Point
}

// Order is what a person may order at a power-on.
type Order uint8

const (
	// OrderNone: power on unattended, and lose nothing.
	OrderNone Order = iota
	// OrderBackup: take the backup's copy, though what was released in the last
	// moments before both hosts were lost may be missing in it.
	OrderBackup
	// OrderStale: take a copy that the record does not name, and lose what was
	// written since it was current.
	OrderStale
)

func (o Order) String() string {
	switch o {
	case OrderBackup:
		return "backup"
	case OrderStale:
		return "stale"
	}
	return "none"
}

// PowerOnError says why a copy may not power the VM on, and what to do.
type PowerOnError struct {
	Image  Image
	Record Copies
	// Needs is the order that would allow it; OrderNone if none does.
	Needs Order
	why   string
}

func (e *PowerOnError) Error() string {
	return "ft: this copy of the disks cannot start the VM: " + e.why
}

// PowerOn says whether a VM may be powered on from a copy: nil, or a
// *PowerOnError. Record is what the run record names; zero if the VM was never
// powered on. flushBoth is the VM's choice to complete a guest's flush only when
// both copies are flushed.
func PowerOn(record Copies, img Image, flushBoth bool, order Order) error {
	refuse := func(needs Order, format string, args ...any) error {
		if needs != OrderNone && order >= needs {
			return nil
		}
		return &PowerOnError{Image: img, Record: record, Needs: needs, why: fmt.Sprintf(format, args...)}
	}
	switch {
	case img.ID == CopyID{}:
		return refuse(OrderNone, "it has no id; import the image first")
	case img.Syncing:
		return refuse(OrderNone, "its synchronisation did not end, so it is no disk. Start the VM on the host of copy %v; this host's copy is then brought up to date", record.Primary)
	case record == Copies{} && img.Gen == Generation{}:
		return nil
	case record == Copies{}:
		return refuse(OrderStale, "it was used by run %v, of which this arbiter knows nothing. Give the VM the arbiter that it had, or order a stale copy if you know that no newer copy exists", img.Gen.Run)
	case img.ID != record.Primary && (img.ID != record.Backup || img.ID == CopyID{}):
		return refuse(OrderStale, "it is stale: the VM has last run on copy %v. Start the VM on that host; if that copy is lost for good, order the stale one and lose what was written since", record.Primary)
	case img.Gen.Less(record.Gen) || img.Gen.Run.Ordinal == record.Gen.Run.Ordinal && img.Gen.Run != record.Gen.Run:
		return refuse(OrderStale, "its image is older than the run record (%v, recorded %v): it was put back from a backup or copied by hand. Use the image that the VM has last run on, or order the stale one and lose what was written since", img.Gen, record.Gen)
	case img.ID != record.Primary && !flushBoth:
		return refuse(OrderBackup, "it is the backup's, and may lack what was released in the last moments. Start the VM on the host of copy %v; if that copy is lost for good, order the backup's", record.Primary)
	}
	return nil
}

// SyncPlan is how a copy is brought up to date.
type SyncPlan struct {
	// Full: copy every block. Else copy the blocks that are in either copy's
	// write-intent map: the copy that is brought up to date may have run ahead.
	Full bool
	Why  string // for people
	// Common is the point that both maps count from, or from before it; zero if
	// Full.
	Common Point
}

// PlanSync plans the synchronisation of copy to with the live copy from.
func PlanSync(from, to Image) SyncPlan {
	switch {
	case to.ID == from.ID:
		return SyncPlan{Full: true, Why: "the copies have the same id"}
	case !from.Since.None() && (from.Since == to.Since || from.Since == to.Prepared):
		return SyncPlan{Common: from.Since, Why: "what either copy wrote since they were last the same"}
	case !to.Since.None() && to.Since == from.Prepared:
		return SyncPlan{Common: to.Since, Why: "what either copy wrote since they were last the same"}
	case to.Since.None() && to.Prepared.None() || from.Since.None():
		return SyncPlan{Full: true, Why: "one of the copies has no map of what was written"}
	}
	return SyncPlan{Full: true, Why: "the copies were never the same, or not last with each other"}
}
