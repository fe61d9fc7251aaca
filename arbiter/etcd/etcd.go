// Package etcd keeps an arbiter's cells in etcd. It stands behind a driver
// (cmd/lockstep-etcd, package remote), so that the VM's process does not link
// etcd's client.
//
// A cell is one key that is put by a transaction on the condition that it was
// never created, without a lease and for ever. Leases and etcd's locks would
// make split-brain safety a matter of clocks, and are not used (R16). etcd
// answers when a majority of its members has the key on disk.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/lockstep-vm/lockstep/arbiter/cells"
)

// Times of a call. They end before the driver's client takes the driver for
// stuck.
const (
	oneTry     = 2 * time.Second
	patience   = 4 * time.Second
	tryPause   = 50 * time.Millisecond
	aliveEvery = 2 * time.Second
)

// Config says how etcd is reached.
type Config struct {
	Endpoints []string // URLs, or HOST:PORT
	Prefix    string   // of every key; DefaultPrefix if empty
	TLS       TLS
	User      string // empty without authentication
	Password  string
}

// DefaultPrefix begins every key unless the configuration has another.
const DefaultPrefix = "/lockstep/arbiter/"

// Store keeps cells under PREFIX VM/NAME.
type Store struct {
	client    *clientv3.Client
	endpoints []string
	prefix    string
	patience  time.Duration   // of a call: no new try after that
	ctx       context.Context // ends with Close
	stop      context.CancelFunc
}

var _ cells.Store = (*Store)(nil)

// Open makes a store. It does not wait for etcd: the calls find out whether it
// can be reached.
func Open(cfg Config) (*Store, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("etcd: no endpoints: say where etcd listens, as https://HOST:2379")
	}
	tls, err := cfg.TLS.client(cfg.Endpoints)
	if err != nil {
		return nil, err
	}
	s := &Store{endpoints: cfg.Endpoints, prefix: cfg.Prefix, patience: patience}
	if s.prefix == "" {
		s.prefix = DefaultPrefix
	}
	if !strings.HasSuffix(s.prefix, "/") {
		s.prefix += "/"
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.client, err = clientv3.New(clientv3.Config{
		Context: s.ctx, Endpoints: cfg.Endpoints, TLS: tls, Username: cfg.User, Password: cfg.Password,
		DialKeepAliveTime: aliveEvery, DialKeepAliveTimeout: aliveEvery, Logger: zap.NewNop(),
	})
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("etcd: %w", err)
	}
	return s, nil
}

// Create is Store's. A try that ends without an answer may have put the key; the
// next one then finds it, and its content tells whose it is.
func (s *Store) Create(vm, name string, content []byte) (have []byte, err error) {
	if err := cells.Check(vm, name, content); err != nil {
		return nil, err
	}
	key := s.key(vm, name)
	err = s.call(func(ctx context.Context) error {
		r, err := s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, string(content))).
			Else(clientv3.OpGet(key)).
			Commit()
		if err != nil {
			return err
		}
		if r.Succeeded {
			have = content
			return nil
		}
		found := r.Responses[0].GetResponseRange().GetKvs()
		if len(found) != 1 {
			return foreign{fmt.Errorf("%s exists and was not found: %d keys", key, len(found))}
		}
		if found[0].GetLease() != 0 {
			return foreign{fmt.Errorf("%s has a lease: something else than an arbiter writes there, and no claim is safe", key)}
		}
		have = found[0].GetValue()
		return nil
	})
	return have, err
}

// Read is Store's. etcd's reads are linearizable unless told otherwise.
func (s *Store) Read(vm, name string) (content []byte, err error) {
	if err := cells.Check(vm, name, nil); err != nil {
		return nil, err
	}
	found := false
	err = s.call(func(ctx context.Context) error {
		r, err := s.client.Get(ctx, s.key(vm, name))
		if err == nil && len(r.Kvs) == 1 {
			content, found = r.Kvs[0].GetValue(), true
		}
		return err
	})
	if err == nil && !found {
		return nil, fmt.Errorf("cell %s of %s: %w", name, vm, fs.ErrNotExist)
	}
	return content, err
}

// List is Store's.
func (s *Store) List(vm, prefix string) (names []string, err error) {
	if err := cells.CheckVM(vm); err != nil {
		return nil, err
	}
	err = s.call(func(ctx context.Context) error {
		r, err := s.client.Get(ctx, s.key(vm, prefix), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
			clientv3.WithSort(clientv3.SortByKey, clientv3.SortAscend))
		if err != nil {
			return err
		}
		names = make([]string, 0, len(r.Kvs))
		for _, kv := range r.Kvs {
			names = append(names, strings.TrimPrefix(string(kv.GetKey()), s.key(vm, "")))
		}
		return nil
	})
	return names, err
}

// Ping writes a key that means nothing: etcd may be readable when a claim could
// not be written.
func (s *Store) Ping() error {
	return s.call(func(ctx context.Context) error {
		_, err := s.client.Put(ctx, s.prefix+".ping", "")
		return err
	})
}

// Durable is Store's: etcd answers when a majority of its members has synced
// its log.
func (s *Store) Durable() (ok bool, why string) { return true, "" }

// Outside is Store's: some endpoint must be on another host. That enough of the
// members are cannot be seen from here.
func (s *Store) Outside() (ok bool, why string) {
	for _, e := range s.endpoints {
		if !onThisHost(e) {
			return true, ""
		}
	}
	return false, "every endpoint of etcd is on this host: it is lost with this host"
}

// Close is Store's.
func (s *Store) Close() error {
	s.stop()
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("etcd: %w", err)
	}
	return nil
}

func (s *Store) key(vm, name string) string { return s.prefix + vm + "/" + name }

// foreign is a key that no arbiter put; no other try finds it changed.
type foreign struct{ error }

// call tries until there is an answer or patience ends. Whatever is tried may be
// tried again.
func (s *Store) call(try func(context.Context) error) error {
	for start := time.Now(); ; {
		ctx, cancel := context.WithTimeout(s.ctx, oneTry)
		err := try(ctx)
		cancel()
		switch {
		case err == nil:
			return nil
		case s.ctx.Err() != nil:
			return errors.New("etcd: the arbiter was closed")
		case time.Since(start) > s.patience || errors.As(err, new(foreign)):
			return fmt.Errorf("etcd at %s: %w", strings.Join(s.endpoints, ", "), err)
		}
		pause := time.NewTimer(tryPause)
		select {
		case <-pause.C:
		case <-s.ctx.Done():
			pause.Stop()
		}
	}
}
