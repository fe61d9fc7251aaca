package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"
	"time"

	"github.com/lockstep-vm/lockstep/storage/nbd"
)

// patience is how long a client may take for one step of the negotiation.
const patience = 30 * time.Second

// errLeft: the client ended the negotiation.
var errLeft = errors.New("the client left")

// conn is one connection: first the negotiation, one option after the other,
// then the transmission of requests.
type conn struct {
	server   *Server
	raw      net.Conn
	in       *bufio.Reader
	peer     string
	noZeroes bool

	// What OptFence said, for the export of that name.
	fence *nbd.Fence
	token uint64

	stopOnce sync.Once

	export *export
	member *member

	mu    sync.Mutex
	room  *sync.Cond // there is more room for requests
	bytes int        // of requests under way
	count int        // of them

	out *nbd.Sender // of answers
}

func newConn(s *Server, raw net.Conn) *conn {
	c := &conn{server: s, raw: raw, in: bufio.NewReaderSize(raw, 64<<10), out: nbd.NewSender(raw), peer: raw.RemoteAddr().String()}
	if raw.RemoteAddr().Network() == "unix" {
		c.peer = "a local client"
	}
	c.room = sync.NewCond(&c.mu)
	return c
}

// stop makes the connection end: nothing more is read, answers may still leave
// for a moment.
func (c *conn) stop() {
	c.stopOnce.Do(func() {
		c.raw.SetReadDeadline(time.Unix(1, 0))
		c.raw.SetWriteDeadline(time.Now().Add(time.Second))
	})
}

func (c *conn) run() {
	defer c.raw.Close()
	if err := c.negotiate(); err != nil {
		if !errors.Is(err, errLeft) && !errors.Is(err, io.EOF) {
			c.server.note("%s: negotiation: %v", c.peer, err)
		}
		return
	}
	c.transmit()
}

// hurry gives the client time for its next step, unless the server stops.
func (c *conn) hurry() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if !c.server.closed {
		c.raw.SetDeadline(time.Now().Add(patience))
	}
}

// negotiate is the fixed newstyle negotiation, up to the choice of an export.
func (c *conn) negotiate() error {
	c.hurry()
	hello := binary.BigEndian.AppendUint64(nil, nbd.Magic)
	hello = binary.BigEndian.AppendUint64(hello, nbd.OptionMagic)
	hello = binary.BigEndian.AppendUint16(hello, nbd.FixedNewstyle|nbd.NoZeroes)
	if _, err := c.raw.Write(hello); err != nil {
		return err
	}
	var flags [4]byte
	if _, err := io.ReadFull(c.in, flags[:]); err != nil {
		return err
	}
	f := binary.BigEndian.Uint32(flags[:])
	if f&^uint32(nbd.FixedNewstyle|nbd.NoZeroes) != 0 || f&uint32(nbd.FixedNewstyle) == 0 {
		return fmt.Errorf("the client's flags are %#x; it does not speak the fixed newstyle negotiation", f)
	}
	c.noZeroes = f&uint32(nbd.NoZeroes) != 0
	for {
		c.hurry()
		var head [nbd.OptionSize]byte
		if _, err := io.ReadFull(c.in, head[:]); err != nil {
			return err
		}
		o, err := nbd.ParseOption(&head)
		if err != nil {
			return err
		}
		if o.Length > nbd.MaxOption {
			_ = c.reply(o.Type, nbd.RepErrTooBig, []byte("the option is too long"))
			return fmt.Errorf("an option of %d bytes", o.Length)
		}
		data := make([]byte, o.Length)
		if _, err := io.ReadFull(c.in, data); err != nil {
			return err
		}
		if ready, err := c.option(o.Type, data); ready || err != nil {
			return err
		}
	}
}

// option answers one option. It says whether transmission begins.
func (c *conn) option(kind uint32, data []byte) (ready bool, err error) {
	switch kind {
	case nbd.OptExportName:
		return c.exportName(string(data))
	case nbd.OptAbort:
		_ = c.reply(kind, nbd.RepAck, nil)
		return false, errLeft
	case nbd.OptList:
		return false, c.list(data)
	case nbd.OptInfo, nbd.OptGo:
		return c.choose(kind, data)
	case nbd.OptFence:
		return false, c.answer(kind, c.raise(data))
	case nbd.OptCells:
		return false, c.cells(data)
	case nbd.OptRelease:
		return false, c.answer(kind, c.release(data))
	}
	return false, c.reply(kind, nbd.RepErrUnsup, []byte("this store does not know the option"))
}

func (c *conn) reply(option, kind uint32, data []byte) error {
	b := nbd.OptionReply{Option: option, Type: kind, Length: uint32(len(data))}.Append(nil)
	_, err := c.raw.Write(append(b, data...))
	return err
}

// refusal is an error with the reply type it is sent as.
type refusal struct {
	kind uint32
	err  error
}

func (r refusal) Error() string { return r.err.Error() }

// answer ends an option: with an acknowledgement, or with the error in the form
// that its kind has.
func (c *conn) answer(option uint32, err error) error {
	var by fenced
	var r refusal
	switch {
	case err == nil:
		return c.reply(option, nbd.RepAck, nil)
	case errors.As(err, &by):
		c.server.note("%s: refused: %v", c.peer, err)
		if option == nbd.OptFence || c.fence != nil {
			return c.reply(option, nbd.RepErrFenced, nbd.AppendFenced(nil, by.by, by.text))
		}
	case errors.As(err, &r):
		return c.reply(option, r.kind, []byte(r.Error()))
	default:
		c.server.note("%s: refused: %v", c.peer, err)
	}
	return c.reply(option, nbd.RepErrPolicy, []byte(err.Error()))
}

func invalid(err error) error { return refusal{nbd.RepErrInvalid, err} }

// find is the export of that name; the empty name is that of the only one.
func (c *conn) find(name string) (*export, error) {
	s := c.server
	if name == "" && len(s.order) == 1 {
		name = s.order[0]
	}
	if e := s.exports[name]; e != nil {
		return e, nil
	}
	return nil, refusal{nbd.RepErrUnknown, fmt.Errorf("there is no export %q here", name)}
}

// list is NBD_OPT_LIST.
func (c *conn) list(data []byte) error {
	if len(data) != 0 {
		return c.answer(nbd.OptList, invalid(errors.New("a list is asked for without data")))
	}
	for _, name := range c.server.order {
		if err := c.reply(nbd.OptList, nbd.RepServer, nbd.AppendString(nil, name)); err != nil {
			return err
		}
	}
	return c.reply(nbd.OptList, nbd.RepAck, nil)
}

// prepare makes this connection a member-to-be of the export called name.
func (c *conn) prepare(name string) (*export, *member, nbd.Info, error) {
	e, err := c.find(name)
	if err != nil {
		return nil, nil, nbd.Info{}, err
	}
	m, info := &member{cut: c.stop}, e.info
	if f := c.fence; f != nil {
		if own, err := c.find(f.Export); err != nil || own != e {
			return nil, nil, nbd.Info{}, invalid(fmt.Errorf("the fence was for export %q, not %q", f.Export, name))
		}
		m.role, m.token, m.vm = writer, c.token, f.VM
		if f.Reader {
			m.role = reader
			info.Flags |= nbd.ReadOnly
		}
	}
	return e, m, info, nil
}

// choose is NBD_OPT_INFO and NBD_OPT_GO.
func (c *conn) choose(kind uint32, data []byte) (ready bool, err error) {
	s, err := nbd.ParseSelect(data)
	if err != nil {
		return false, c.answer(kind, invalid(err))
	}
	e, m, info, err := c.prepare(s.Export)
	if err == nil && kind == nbd.OptGo {
		err = e.attach(m)
	} else if err == nil {
		err = e.admit(m)
	}
	if err != nil {
		return false, c.answer(kind, err)
	}
	err = c.reply(kind, nbd.RepInfo, info.AppendExport(nil))
	for _, w := range s.Wants {
		if err == nil && w == nbd.InfoName {
			err = c.reply(kind, nbd.RepInfo, append(binary.BigEndian.AppendUint16(nil, nbd.InfoName), e.name...))
		}
	}
	if err == nil {
		err = c.reply(kind, nbd.RepInfo, info.AppendBlockSize(nil))
	}
	if err == nil {
		err = c.reply(kind, nbd.RepAck, nil)
	}
	if kind == nbd.OptInfo {
		return false, err
	}
	c.export, c.member = e, m
	if err != nil {
		e.detach(m)
	}
	return true, err
}

// exportName is NBD_OPT_EXPORT_NAME, which has no way to say no.
func (c *conn) exportName(name string) (ready bool, err error) {
	e, m, info, err := c.prepare(name)
	if err == nil {
		err = e.attach(m)
	}
	if err != nil {
		return false, err
	}
	b := binary.BigEndian.AppendUint64(nil, info.Size)
	b = binary.BigEndian.AppendUint16(b, info.Flags)
	if !c.noZeroes {
		b = append(b, make([]byte, 124)...)
	}
	if _, err := c.raw.Write(b); err != nil {
		e.detach(m)
		return false, err
	}
	c.export, c.member = e, m
	return true, nil
}

// raise is OptFence: the claim of an export, or the wish to be its reader.
func (c *conn) raise(data []byte) error {
	f, err := nbd.ParseFence(data)
	if err != nil {
		return invalid(err)
	}
	e, err := c.find(f.Export)
	if err != nil {
		return err
	}
	if !f.Reader {
		token, err := e.claim(f)
		if err != nil {
			return err
		}
		c.token = token
		c.server.note("export %s: claimed by VM %s with number %v", e.name, f.VM, f.Number)
	}
	c.fence = &f
	return nil
}

func (c *conn) release(data []byte) error {
	r, err := nbd.ParseRelease(data)
	if err != nil {
		return invalid(err)
	}
	e, err := c.find(r.Export)
	if err != nil {
		return err
	}
	if err := e.release(r); err != nil {
		return err
	}
	c.server.note("export %s: released: VM %s holds it no more", e.name, r.VM)
	return nil
}

// cells is OptCells.
func (c *conn) cells(data []byte) error {
	call, err := nbd.ParseCellCall(data)
	if err != nil {
		return c.answer(nbd.OptCells, invalid(err))
	}
	if c.server.cfg.Cells == nil {
		return c.answer(nbd.OptCells, errors.New("this store keeps no cells; start it with --arbiter DIR"))
	}
	have, err := c.ask(call)
	if err != nil {
		return c.answer(nbd.OptCells, err)
	}
	if len(have) > nbd.MaxOptionReply {
		return c.answer(nbd.OptCells, errors.New("the answer is too long"))
	}
	if err := c.reply(nbd.OptCells, nbd.RepCells, have); err != nil {
		return err
	}
	return c.reply(nbd.OptCells, nbd.RepAck, nil)
}

func (c *conn) ask(call nbd.CellCall) (have []byte, err error) {
	store := c.server.cfg.Cells
	switch call.Op {
	case nbd.CellPing:
		return nil, store.Ping()
	case nbd.CellDurable:
		_, why := store.Durable()
		return []byte(why), nil
	case nbd.CellCreate:
		return store.Create(call.VM, call.Name, call.Content)
	case nbd.CellRead:
		have, err := store.Read(call.VM, call.Name)
		if errors.Is(err, fs.ErrNotExist) {
			return []byte{0}, nil
		}
		return append([]byte{1}, have...), err
	case nbd.CellList:
		names, err := store.List(call.VM, call.Name)
		for _, name := range names {
			have = nbd.AppendString(have, name)
		}
		return have, err
	}
	panic(fmt.Sprintf("BUG: store: operation %d was not checked", call.Op))
}
