package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
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
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("etcd: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("etcd: no certificate in PEM in %s", t.CA)
		}
	}
	if t.Cert != "" {
		cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("etcd: %w", err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}

// onThisHost says whether an endpoint is an address of this host. A name that
// does not resolve is taken for another's.
func onThisHost(endpoint string) bool {
	host := endpoint
	if u, err := url.Parse(endpoint); err == nil && strings.Contains(endpoint, "://") {
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
