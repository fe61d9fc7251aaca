package hart

// SetCodeLimit makes room for little decoded code, in units of 16 bytes.
func (h *Hart) SetCodeLimit(units uint64) { h.code.limit = units }
