package arbitertest

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/lockstep-vm/lockstep/arbiter/cells"
)

// Memory is a store of cells in memory. Its use may be shared.
type Memory struct {
	mu   sync.Mutex
	have map[string][]byte
	down error // what every call answers; nil is none
}

var _ cells.Store = (*Memory)(nil)

// Down makes every call fail with err; nil ends that.
func (m *Memory) Down(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

// Len is how many cells there are.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.have)
}

// Create is Store's.
func (m *Memory) Create(vm, name string, content []byte) ([]byte, error) {
	if err := cells.Check(vm, name, content); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return nil, m.down
	}
	if m.have == nil {
		m.have = map[string][]byte{}
	}
	key := vm + "/" + name
	if _, taken := m.have[key]; !taken {
		m.have[key] = bytes.Clone(content)
	}
	return bytes.Clone(m.have[key]), nil
}

// Read is Store's.
func (m *Memory) Read(vm, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return nil, m.down
	}
	content, ok := m.have[vm+"/"+name]
	if !ok {
		return nil, fmt.Errorf("cell %s of %s: %w", name, vm, fs.ErrNotExist)
	}
	return bytes.Clone(content), nil
}

// List is Store's.
func (m *Memory) List(vm, prefix string) ([]string, error) {
	if err := cells.CheckVM(vm); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for key := range m.have {
		if name, ok := strings.CutPrefix(key, vm+"/"); ok && strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, m.down
}

// Ping is Store's.
func (m *Memory) Ping() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down
}

// Durable is Store's: memory is not.
func (m *Memory) Durable() (bool, string) { return false, "it is kept in memory" }

// Outside is Store's.
func (m *Memory) Outside() (bool, string) { return true, "" }

// Close is Store's. Others may use the store still.
func (m *Memory) Close() error { return nil }
