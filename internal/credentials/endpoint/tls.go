package endpoint

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
)

// subjectOf writes the subject of a certificate as RFC 2253 does, all of it and in the
// certificate's own order: no two subjects are written the same.
func subjectOf(c *x509.Certificate) string {
	var names pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.RawSubject, &names); err != nil || len(rest) > 0 {
		return ""
	}
	return names.String()
}

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
