package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/keyset"
)

// pair makes a certificate and its key in PEM.
func pair(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: doc})
}

// Every file that a setting names passes the same checks at a change as at the
// start; what was read before stays in force, and the log says once which
// setting's file is wrong.
func TestFilesThatChange(t *testing.T) {
	certificate, key := pair(t)
	_, otherKey := pair(t)
	const marker = "s3cret-m4rk"
	good := map[string][]byte{
		"token": []byte("first\n"), "second": []byte("second\n"), "signing": []byte("signing\n"), "password": []byte("password\n"),
		"cert": certificate, "key": key, "ca": certificate,
	}
	for i, c := range []struct {
		setting, file string
		bad           []byte
		remove        bool
	}{
		{"accounts[0].token-file", "token", []byte(marker + " \n"), false},
		{"accounts[0].token-file", "token", []byte("Bearer " + marker), false},
		{"accounts[0].token-file", "token", []byte("\xef\xbb\xbf" + marker), false},
		{"accounts[0].token-file", "token", []byte("second"), false},
		{"accounts[0].token-file", "token", nil, true},
		{"accounts[1].token-file", "second", []byte(marker + "\n" + marker), false},
		{"accounts[0].signing-key-file", "signing", []byte("\xef\xbb\xbf" + marker), false},
		{"accounts[0].signing-key-file", "signing", []byte(marker + " "), false},
		{"kafka-password-file", "password", []byte(marker + " \n"), false},
		{"kafka-password-file", "password", []byte("\xef\xbb\xbf" + marker), false},
		{"kafka-cert-file", "cert", []byte("no certificate"), false},
		{"kafka-cert-file", "key", otherKey, false},
		{"kafka-cert-file", "key", nil, true},
		{"kafka-ca-file", "ca", []byte("no certificate"), false},
		{"invoicebox-ca-file", "api-ca", []byte("no certificate"), false},
		{"keyset-file", "keyset", []byte("{}"), false},
		{"keyset-file", "keyset", nil, true},
	} {
		t.Run(fmt.Sprintf("%s/%d", c.setting, i), func(t *testing.T) {
			dir := t.TempDir()
			put := func(name string, doc []byte) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(dir, name), doc, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for name, doc := range good {
				put(name, doc)
			}
			put("api-ca", certificate)
			set, err := keyset.File{Path: filepath.Join(dir, "keyset")}.Create(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			doc := strings.ReplaceAll(`
kafka-brokers: 127.0.0.1:1
kafka-tls: true
kafka-ca-file: @ca
kafka-cert-file: @cert
kafka-key-file: @key
kafka-sasl-mechanism: plain
kafka-username: u
kafka-password-file: @password
invoicebox-ca-file: @api-ca
keyset-file: @keyset
accounts:
  - {name: a, partner-id: p1, token-file: @token, signing-key-file: @signing}
  - {name: b, partner-id: p2, token-file: @second}
`, "@", dir+"/")
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				s, err := read(t, nil, "--config", file(t, "c.yaml", doc))
				if err != nil {
					t.Fatal(err)
				}
				o, err := s.options(slog.New(slog.NewTextHandler(&log, nil)))
				if err != nil {
					t.Fatal(err)
				}
				look := func() (wrong []string) {
					<-time.After(2 * time.Second)
					for _, f := range o.Files {
						if err := f.Look(); err != nil {
							wrong = append(wrong, f.Setting())
						}
					}
					return wrong
				}
				if wrong := look(); len(wrong) > 0 || log.Len() > 0 {
					t.Fatalf("before anything is changed: %v\n%s", wrong, &log)
				}
				next := filepath.Join(dir, "next")
				if c.remove {
					err = os.Rename(filepath.Join(dir, c.file), next)
				} else {
					put("next", c.bad)
					err = os.Rename(next, filepath.Join(dir, c.file))
				}
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					if wrong := look(); len(wrong) != 1 || wrong[0] != c.setting {
						t.Errorf("wrong are %v, want %s", wrong, c.setting)
					}
				}
				password, err := o.Kafka.SASL.Password()
				if err != nil || password.Reveal() != "password" || o.Accounts[0].Token().Reveal() != "first" || o.Accounts[1].Token().Reveal() != "second" ||
					o.Accounts[0].Signing.Key().Reveal() != "signing" || o.Keyset == nil || !slices.Equal(o.Keyset.List(), set.List()) || o.KeysetNow() != o.Keyset {
					t.Error("what was read before is not used any more")
				}
				if pair, err := o.Kafka.TLS.Certificate(); err != nil || len(pair.Certificate) != 1 {
					t.Errorf("the certificate: %v", err)
				}
				if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "setting="+c.setting) || strings.Contains(log.String(), marker) {
					t.Errorf("the log:\n%s", &log)
				}
				// The start refuses the same.
				again, err := read(t, nil, "--config", file(t, "c.yaml", doc))
				if err != nil {
					t.Fatal(err)
				}
				other := c.file == "keyset" && len(c.bad) > 2 // another keyset is the journal's to refuse
				if _, err := again.options(nil); (err == nil) != other {
					t.Errorf("a start with it: %v", err)
				} else if err != nil && strings.Contains(err.Error(), marker) {
					t.Errorf("the error holds a secret: %v", err)
				}
			})
		})
	}
}
