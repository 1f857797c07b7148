package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/credentials/endpoint"
	"invoicebox-worker/internal/secretfile"
)

// credentialsEndpoint opens the files of the endpoint at which callers read
// credentials; nil if there is none.
func (s *settings) credentialsEndpoint(logger *slog.Logger) (*app.CredentialsEndpoint, error) {
	for _, f := range []struct{ name, value, needs, other string }{
		{"credentials-callers-file", s.CredentialsCallersFile, "credentials-listen", s.CredentialsListen},
		{"credentials-cert-file", s.CredentialsCertFile, "credentials-listen", s.CredentialsListen},
		{"credentials-cert-file", s.CredentialsCertFile, "credentials-key-file", s.CredentialsKeyFile},
		{"credentials-key-file", s.CredentialsKeyFile, "credentials-cert-file", s.CredentialsCertFile},
		{"credentials-client-ca-file", s.CredentialsClientCAFile, "credentials-listen", s.CredentialsListen},
	} {
		if f.value != "" && f.other == "" {
			return nil, s.given.Wrong(f.name, f.value, "needs --"+f.needs)
		}
	}
	if s.CredentialsListen == "" {
		return nil, nil
	}
	e := &app.CredentialsEndpoint{Listen: s.CredentialsListen}
	if s.CredentialsCallersFile != "" {
		callers, err := endpoint.OpenCallers(s.CredentialsCallersFile, s.CredentialsClientCAFile != "", logger)
		if err != nil {
			return nil, s.given.Wrong("credentials-callers-file", s.CredentialsCallersFile, err.Error())
		}
		s.watch(callers)
		e.Callers = callers
	}
	if s.CredentialsKeyFile != "" {
		pair, err := secretfile.Watch("credentials-cert-file", secretfile.AtOnce, logger, func() (tls.Certificate, error) {
			return s.certificate(s.CredentialsCertFile, s.CredentialsKeyFile)
		}, s.CredentialsCertFile, s.CredentialsKeyFile)
		if err != nil {
			return nil, s.given.Wrong("credentials-cert-file", s.CredentialsCertFile, err.Error())
		}
		s.watch(pair)
		e.Certificate = func() *tls.Certificate { c := pair.Last(); return &c }
	}
	if s.CredentialsClientCAFile != "" {
		pool, err := s.authoritiesFile("credentials-client-ca-file", s.CredentialsClientCAFile, secretfile.AtOnce, logger)
		if err != nil {
			return nil, err
		}
		e.ClientCAs = func() *x509.CertPool { return pool.Last() }
	}
	return e, nil
}
