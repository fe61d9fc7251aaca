package replay

import (
	"fmt"
	"strings"

	"github.com/lockstep-vm/lockstep/machine"
)

// Divergence is the error for a machine that does not do what the log says it
// did. Its State must not go live (R8).
type Divergence struct {
	Seq   Seq            `json:"seq"`   // entry that found it
	Pos   machine.Icount `json:"pos"`   // position of the machine
	Since machine.Icount `json:"since"` // where the States last agreed: it happened after this
	What  string         `json:"what"`  // what differs
	Log   string         `json:"log"`   // its value in the log
	Here  string         `json:"here"`  // its value in this machine
	// Parts are what differs within a digest; see Explain. Without them
	// Unexplained says why.
	Parts       []Difference `json:"parts,omitempty"`
	Unexplained string       `json:"unexplained,omitempty"`

	account *machine.Account // this machine's, if a digest differs
}

// Difference is a part of State that is not the same in two machines.
type Difference struct {
	What string `json:"what"`
	Log  string `json:"log"` // its value in the machine that was recorded
	Here string `json:"here"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: %s there, %s here", d.What, d.Log, d.Here)
}

func (d *Divergence) Error() string {
	return fmt.Sprintf("replay: divergence at position %d, entry %d: %s is %s in the log and %s here", d.Pos, d.Seq, d.What, d.Log, d.Here)
}

// Explainable says whether an Account of the machine that was recorded, at the
// same entry, can tell more.
func (d *Divergence) Explainable() bool { return d.account != nil }

// Explain fills Parts from the account that the recorded machine gave at the
// entry that found the divergence.
func (d *Divergence) Explain(log machine.Account) {
	switch {
	case d.account == nil:
		panic("replay: BUG: a divergence without a digest is explained")
	case log.Pos != d.account.Pos || fmt.Sprint(log.Digest) != d.Log:
		d.Unexplained = "the primary's account is of another digest"
		return
	}
	if d.Parts = Differences(log, *d.account); len(d.Parts) == 0 {
		d.Unexplained = "the accounts name no part that differs"
	}
}

// maxParts is how many parts a report lists.
const maxParts = 12

// Report is what a person should know, in several lines.
func (d *Divergence) Report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "divergence at position %d, entry %d: %s is %s in the log and %s here\n", d.Pos, d.Seq, d.What, d.Log, d.Here)
	fmt.Fprintf(&b, "  interval: after position %d, where the states last agreed: %d instructions", d.Since, d.Pos-d.Since)
	for i, p := range d.Parts {
		switch {
		case i == 0:
			fmt.Fprintf(&b, "\n  first difference: %v", p)
		case i < maxParts:
			fmt.Fprintf(&b, "\n  also: %v", p)
		case i == maxParts:
			fmt.Fprintf(&b, "\n  and %d more", len(d.Parts)-maxParts)
		}
	}
	if len(d.Parts) == 0 && d.Unexplained != "" {
		fmt.Fprintf(&b, "\n  what differs is not known: %s", d.Unexplained)
	}
	return b.String()
}

// Differences are the parts in which two accounts at one position differ, given
// that the accounts before agreed: registers, then devices, then, as one
// difference, the pages.
func Differences(log, here machine.Account) []Difference {
	var parts []Difference
	if log.Pos != here.Pos {
		parts = append(parts, Difference{"the position", fmt.Sprint(log.Pos), fmt.Sprint(here.Pos)})
	}
	for i, r := range here.Registers {
		if i >= len(log.Registers) || log.Registers[i].Name != r.Name {
			return append(parts, Difference{"the registers that there are", fmt.Sprint(len(log.Registers)), fmt.Sprint(len(here.Registers))})
		}
		if l := log.Registers[i]; l.Value != r.Value {
			parts = append(parts, Difference{"register " + r.Name, fmt.Sprintf("%#x", l.Value), fmt.Sprintf("%#x", r.Value)})
		}
	}
	registers := len(parts) > 0
	for i, p := range here.Devices {
		if i >= len(log.Devices) || log.Devices[i].Name != p.Name {
			return append(parts, Difference{"the devices that there are", fmt.Sprint(len(log.Devices)), fmt.Sprint(len(here.Devices))})
		}
		if l := log.Devices[i]; l.Sum != p.Sum && !(registers && p.Name == machine.HartPart) {
			parts = append(parts, Difference{"device " + p.Name, hash(l.Sum), hash(p.Sum)})
		}
	}
	if pages := differentPages(log.Pages, here.Pages); len(pages) > 0 {
		p := pages[0]
		what := fmt.Sprintf("page %d at %#x", p.page, here.Base+machine.GPA(p.page)*machine.PageSize)
		if n := len(pages); n > 1 {
			what += fmt.Sprintf(", the lowest of %d pages", n)
		}
		parts = append(parts, Difference{what, p.log, p.here})
	}
	return parts
}

func hash(sum [16]byte) string { return fmt.Sprintf("hash %x", sum[:8]) }

// A pageDifference is a page that only one side has changed since the accounts
// before, or both in different ways.
type pageDifference struct {
	page      uint32
	log, here string
}

func differentPages(log, here []machine.PageSum) (out []pageDifference) {
	const same = "not changed in the interval"
	for len(log) > 0 || len(here) > 0 {
		switch {
		case len(here) == 0 || len(log) > 0 && log[0].Page < here[0].Page:
			out = append(out, pageDifference{log[0].Page, hash(log[0].Sum), same})
			log = log[1:]
		case len(log) == 0 || here[0].Page < log[0].Page:
			out = append(out, pageDifference{here[0].Page, same, hash(here[0].Sum)})
			here = here[1:]
		default:
			if log[0].Sum != here[0].Sum {
				out = append(out, pageDifference{here[0].Page, hash(log[0].Sum), hash(here[0].Sum)})
			}
			log, here = log[1:], here[1:]
		}
	}
	return out
}
