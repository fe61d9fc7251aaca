package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// MemberConfig describes an etcd of one member: a third place for hosts that
// have no etcd.
type MemberConfig struct {
	Dir    string // what it keeps; made if needed
	Listen string // URL of the clients' side: http or https, HOST:PORT
	TLS    TLS    // with CA set, clients must show a certificate that it signed
}

// ready bounds how long a member may take to start.
const ready = 30 * time.Second

// Member is an etcd in this process.
type Member struct{ etcd *embed.Etcd }

// StartMember starts an etcd of one member and returns when it answers.
func StartMember(ctx context.Context, cfg MemberConfig) (*Member, error) {
	listen, err := url.Parse(cfg.Listen)
	if err != nil || (listen.Scheme != "http" && listen.Scheme != "https") || listen.Port() == "" {
		return nil, fmt.Errorf("etcd: cannot listen on %q: write http://HOST:PORT or https://HOST:PORT", cfg.Listen)
	}
	switch {
	case listen.Scheme == "https" && (cfg.TLS.Cert == "" || cfg.TLS.Key == ""):
		return nil, fmt.Errorf("etcd: %s needs a certificate and its key", cfg.Listen)
	case listen.Scheme == "http" && cfg.TLS != TLS{}:
		return nil, fmt.Errorf("etcd: %s: certificates need https://", cfg.Listen)
	}
	c := embed.NewConfig()
	c.Name, c.Dir = "arbiter", cfg.Dir
	// Errors come back from StartMember and Failed; etcd reports its planned end
	// as some more.
	c.LogLevel, c.LogOutputs = "panic", []string{"stderr"}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*listen}, []url.URL{*listen}
	c.ClientTLSInfo.CertFile, c.ClientTLSInfo.KeyFile = cfg.TLS.Cert, cfg.TLS.Key
	c.ClientTLSInfo.TrustedCAFile, c.ClientTLSInfo.ClientCertAuth = cfg.TLS.CA, cfg.TLS.CA != ""
	// It has no peers, but etcd wants an address for them: one that nobody else
	// can reach, and the same name for it at every start.
	c.ListenPeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2380"}}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	m := &Member{etcd: e}
	ctx, cancel := context.WithTimeout(ctx, ready)
	defer cancel()
	select {
	case <-e.Server.ReadyNotify():
		return m, nil
	case err = <-e.Err():
	case <-ctx.Done():
		err = errors.New("it did not become ready")
	}
	m.Close()
	return nil, fmt.Errorf("etcd: %w", err)
}

// URL is where clients reach it.
func (m *Member) URL() string {
	u := m.etcd.Config().ListenClientUrls[0]
	if len(m.etcd.Clients) > 0 {
		if _, port, err := net.SplitHostPort(m.etcd.Clients[0].Addr().String()); err == nil {
			u.Host = net.JoinHostPort(u.Hostname(), port)
		}
	}
	return u.String()
}

// Failed delivers an error if the member stops by itself.
func (m *Member) Failed() <-chan error { return m.etcd.Err() }

// Close stops the member. What was answered is on disk.
func (m *Member) Close() { m.etcd.Close() }
