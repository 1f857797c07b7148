package kafka_test

import (
	"crypto/tls"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"invoicebox-worker/internal/kafka"
)

// A listener that asks for a client's certificate ends the handshake of one that
// has none with an alert, which is no fault of the network.
func TestAMissingClientCertificateIsATLSFault(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	err := ask(t, kafka.Config{Brokers: []string{strings.TrimPrefix(s.URL, "https://")}, TLS: &kafka.TLS{CAFile: ca}})
	if kafka.ClassOf(err) != kafka.TLSFault || !strings.Contains(err.Error(), "client certificate") {
		t.Errorf("%v", err)
	}
}
