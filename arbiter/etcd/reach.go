package etcd

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// TLS names the PEM files of a connection. CA is who signed the other side's
// certificate; Cert and Key are this side's own.
type TLS struct{ CA, Cert, Key string }

// client is nil for endpoints without TLS.
func (t TLS) client(endpoints []string) (*tls.Config, error) {
	secure, plain := false, false
	for _, e := range endpoints {
		if strings.HasPrefix(e, "https://") || strings.HasPrefix(e, "unixs://") {
			secure = true
		} else {
			plain = true
		}
	}
	switch {
	case secure && plain:
		return nil, fmt.Errorf("etcd: %s: write https:// before every endpoint or before none", strings.Join(endpoints, ", "))
	case (t.Cert == "") != (t.Key == ""):
		return nil, fmt.Errorf("etcd: a certificate and its key come together: give both files")
	case plain && t != TLS{}:
		return nil, fmt.Errorf("etcd: %s: certificates need https:// before every endpoint", strings.Join(endpoints, ", "))
	case plain:
		return nil, nil
	}
	info := transport.TLSInfo{TrustedCAFile: t.CA, CertFile: t.Cert, KeyFile: t.Key}
	config, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	return config, nil
}

// onThisHost says whether an endpoint is an address of this host. A name that
// does not resolve is taken for another's.
func onThisHost(endpoint string) bool {
	host := endpoint
	if u, err := url.Parse(endpoint); err == nil && u.Scheme != "" && u.Host != "" {
		if strings.HasPrefix(u.Scheme, "unix") {
			return true
		}
		host = u.Host
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return false
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, ip := range ips {
		if ip.IsLoopback() || ip.IsUnspecified() {
			return true
		}
		for _, a := range own {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
				return true
			}
		}
	}
	return false
}
