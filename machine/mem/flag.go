package mem

// Flag is a set of facts about a page.
type Flag uint8

const (
	// HasCode: decoded blocks derive from the page.
	HasCode Flag = 1 << iota
	// IsPageTable: cached translations derive from the page.
	IsPageTable
	// Clean: the digest knows the page's content.
	Clean
	// PreCopy: a copy of the page has been sent to a new backup.
	PreCopy
	// WriteEntry: the watcher may hold a write entry for the page. It is the
	// watcher's hint to itself, no reason to leave the fast path.
	WriteEntry
	// Listed: the page is in the list that Changes returns.
	Listed
	// HasWatch: the watcher wants to see every store of the guest to the
	// page. It is for ever.
	HasWatch

	// Watched is any flag for whose sake a store must go through Touch.
	Watched = HasCode | IsPageTable | Clean | PreCopy | HasWatch
)

// Watcher is who holds caches that derive from RAM.
type Watcher interface {
	// Written is called before n bytes at offset off change, within one page
	// that is flagged HasCode or IsPageTable.
	Written(off, n uint64)
	// DMA is called before a device writes n bytes at offset off.
	DMA(off, n uint64)
	// AllWatched is called when any number of pages became flagged: no write
	// entry may outlive the call.
	AllWatched()
}

// Watch registers the one watcher.
func (r *RAM) Watch(w Watcher) { r.watcher = w }

// PageFlags are the flags of page, counted from the start of RAM.
func (r *RAM) PageFlags(page uint64) Flag { return r.flags[page] }

// SetFlags adds to a page's flags. The caller sees to write entries.
func (r *RAM) SetFlags(page uint64, f Flag) { r.flags[page] |= f }

// ClearFlags takes from a page's flags.
func (r *RAM) ClearFlags(page uint64, f Flag) { r.flags[page] &^= f }

// Touch must precede every change of n bytes at offset off, unless all pages
// touched are free of Watched flags.
func (r *RAM) Touch(off, n uint64) {
	for n > 0 {
		page := off >> PageShift
		part := min(n, PageSize-off&(PageSize-1))
		f := r.flags[page]
		if f&Clean != 0 {
			r.dirty = append(r.dirty, uint32(page))
		}
		if f&(Clean|PreCopy) != 0 {
			r.flags[page] = f &^ (Clean | PreCopy)
		}
		if f&(HasCode|IsPageTable) != 0 {
			r.watcher.Written(off, part)
		}
		off, n = off+part, n-part
	}
}
