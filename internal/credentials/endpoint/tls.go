package endpoint

import (
	"crypto/tls"
	"crypto/x509"
)

// NewTLS returns the settings of the listener. Both functions are asked for every
// connection, so that files can be replaced; clients may be nil if no caller has a
// certificate.
//
// There are no session tickets: a resumed session would skip the check of the client's
// certificate against new authorities.
func NewTLS(certificate func() *tls.Certificate, clients func() *x509.CertPool) *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate(), nil },
	}
	if clients == nil {
		return config
	}
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		one := config.Clone()
		one.GetConfigForClient = nil
		one.ClientAuth, one.ClientCAs = tls.VerifyClientCertIfGiven, clients()
		return one, nil
	}
	return config
}
