package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secretfile"
)

// watch makes the service read a file of a setting again when it changes.
func (s *settings) watch(f app.WatchedFile) { s.files = append(s.files, f) }

// secretFile opens a secret's file.
func (s *settings) secretFile(name, path string, form secretfile.Form, logger *slog.Logger) (*secretfile.File, error) {
	f, err := secretfile.Open(name, path, form, logger)
	if err != nil {
		return nil, s.given.Wrong(name, "", err.Error())
	}
	s.watch(f)
	return f, nil
}

// tokenFile opens the file of an account's token, which no other account may
// have.
func (s *settings) tokenFile(name, account, path string, logger *slog.Logger) (*secretfile.File, error) {
	if s.tokens == nil {
		s.tokens = map[string]*secretfile.File{}
	}
	f, err := secretfile.OpenDistinct(name, path, secretfile.Token, logger, func() map[string]*secretfile.File { return s.tokens })
	if err != nil {
		return nil, s.given.Wrong(name, "", err.Error())
	}
	s.tokens[fmt.Sprintf("account %q", account)] = f
	s.watch(f)
	return f, nil
}

// authorities reads a file of certificate authorities for servers. A change of the file is
// checked, and used at the next start.
func (s *settings) authorities(name, path string, logger *slog.Logger) (*x509.CertPool, error) {
	f, err := s.authoritiesFile(name, path, secretfile.AtNextStart, logger)
	if err != nil {
		return nil, err
	}
	return f.Get(), nil
}

func (s *settings) authoritiesFile(name, path string, use secretfile.Use, logger *slog.Logger) (*secretfile.Watched[*x509.CertPool], error) {
	f, err := secretfile.Watch(name, use, logger, func() (*x509.CertPool, error) {
		doc, err := os.ReadFile(path) // #nosec G304 -- the operator names the file
		if err != nil {
			return nil, fmt.Errorf("%s cannot be read: %s", path, config.ErrorText(err))
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(doc) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", path)
		}
		return pool, nil
	}, path)
	if err != nil {
		return nil, s.given.Wrong(name, path, err.Error())
	}
	s.watch(f)
	return f, nil
}

// certificate reads a certificate with its key.
func (s *settings) certificate(certFile, keyFile string) (tls.Certificate, error) {
	if info, err := os.Stat(keyFile); err == nil {
		if err := secretfile.CheckPrivate(keyFile, info); err != nil {
			return tls.Certificate{}, err
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return pair, fmt.Errorf("%s is no PEM certificate that fits the key in %s: %s", certFile, keyFile, config.ErrorText(err))
	}
	return pair, nil
}

// watchedKeyset loads the keyset, and makes the service read its file again when it changes.
func (s *settings) watchedKeyset(logger *slog.Logger) (*secretfile.Watched[*keyset.Set], error) {
	// The files of the log-in are watched too.
	file, err := s.keysetFile(logger)
	if err != nil {
		return nil, err
	}
	set, err := s.keyset()
	if err != nil {
		return nil, err
	}
	first := true
	f, err := secretfile.Watch("keyset-file", secretfile.AtOnce, logger, func() (*keyset.Set, error) {
		if first {
			first = false
			return set, nil
		}
		return file.Load(context.Background())
	}, s.KeysetFile)
	if err != nil {
		return nil, s.given.Wrong("keyset-file", s.KeysetFile, err.Error())
	}
	s.watch(f)
	return f, nil
}
