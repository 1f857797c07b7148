package tracing

import (
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

func TestURL(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://c.example:4318": "https://c.example:4318/v1/traces", "https://c.example/": "https://c.example/v1/traces",
		"https://c.example/otlp": "https://c.example/otlp/v1/traces", "https://c.example/otlp/v1/traces": "https://c.example/otlp/v1/traces",
	} {
		if got := URL(endpoint); got != want {
			t.Errorf("%s: %s, not %s", endpoint, got, want)
		}
	}
}

// Whatever the collector does, its text is in no report.
func TestProbe(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(strings.Split(r.URL.Path, "/")[1])
		w.Header().Set("Content-Type", "application/x-protobuf")
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(status)
		if status == http.StatusOK && strings.HasPrefix(r.URL.Path, "/200/broken") {
			_, _ = w.Write([]byte("SECRET"))
		} else if status != http.StatusOK {
			_, _ = w.Write([]byte(r.Header.Get("X-Key")))
		}
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(handler))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer secure.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=SECRET")
	for endpoint, want := range map[string]string{
		server.URL + "/200":        "",
		server.URL + "/200/broken": "the collector does not respond as expected",
		server.URL + "/401":        "the collector responds with HTTP status 401",
		server.URL + "/404":        "the collector responds with HTTP status 404",
		server.URL + "/503":        "the collector is not available (429, 502, 503 or 504)",
		"http://127.0.0.1:1":       "connection refused",
		secure.URL + "/200":        "the TLS handshake failed, or the certificate is not trusted; see OTEL_EXPORTER_OTLP_CERTIFICATE",
		"https" + strings.TrimPrefix(server.URL, "http") + "/200": "the collector does not use TLS at this port",
	} {
		got := ""
		if err := Probe(t.Context(), endpoint); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, not %q", endpoint, got, want)
		}
	}
}

// A redirect is not followed: the headers of the variables are for the collector only.
func TestProbe_Redirect(t *testing.T) {
	var asked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	defer other.Close()
	for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect} {
		collector := httptest.NewServer(http.RedirectHandler(other.URL, status))
		err := Probe(t.Context(), collector.URL)
		collector.Close()
		if want := fmt.Sprintf("the collector responds with HTTP status %d", status); err == nil || err.Error() != want {
			t.Errorf("%v, not %q", err, want)
		}
	}
	if asked.Load() {
		t.Error("the other server was asked")
	}
}

// check and run refuse certificates for a collector without TLS.
func TestProbe_CertificateWithoutTLS(t *testing.T) {
	collector := httptest.NewTLSServer(http.NotFoundHandler())
	defer collector.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: collector.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", file)
	if err := Probe(t.Context(), "http"+strings.TrimPrefix(collector.URL, "https")); err == nil || !strings.Contains(err.Error(), "need an https address") {
		t.Errorf("%v", err)
	}
	if err := Probe(t.Context(), collector.URL); err == nil || err.Error() != "the collector responds with HTTP status 404" {
		t.Errorf("with the authority: %v", err)
	}
}

// A variable that the SDK would print and ignore is refused. The error does not repeat it.
func TestEnvironment(t *testing.T) {
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc,x-tenant=1", true},
		{"OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer abc==", true},
		{"OTEL_EXPORTER_OTLP_HEADERS", "SECRET", false},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a b=SECRET", false},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=SECRET%zz", false},
		{"OTEL_EXPORTER_OTLP_HEADERS", "a=SECRET%0d%0aX: y", false},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=1,SECRET", false},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/does/not/exist/SECRET", false},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "export_test.go", false},
		{"OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "export_test.go", false},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "500", true},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "SECRET", false},
		{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", false},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example", true},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:SECRET@collector.example:port", false},
		{"OTEL_TRACES_SAMPLER", "parentbased_traceidratio", true},
		{"OTEL_TRACES_SAMPLER", "SECRET", false},
		{"OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,team=%D1%8F,empty=", true},
		{"OTEL_RESOURCE_ATTRIBUTES", "SECRET", false},
		{"OTEL_RESOURCE_ATTRIBUTES", "team=a,=SECRET", false},
		{"OTEL_RESOURCE_ATTRIBUTES", "team=SECRET%zz", false},
		{"OTEL_RESOURCE_ATTRIBUTES", "team=SECRET%ff", false},
		{"OTEL_RESOURCE_ATTRIBUTES", "te\xffam=SECRET", false},
		{"OTEL_SERVICE_NAME", "invoicebox", true},
		{"OTEL_SERVICE_NAME", "SECRET\xff", false},
	} {
		t.Run(c.name+"/"+c.value, func(t *testing.T) {
			t.Setenv(c.name, c.value)
			_, _, err := checkEnvironment()
			if (err == nil) != c.ok {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%v", err)
			}
		})
	}
	for arg, ok := range map[string]bool{"0.1": true, "1": true, "2": false, "x": false, "NaN": false} {
		t.Run("OTEL_TRACES_SAMPLER_ARG/"+arg, func(t *testing.T) {
			t.Setenv("OTEL_TRACES_SAMPLER", "traceidratio")
			t.Setenv("OTEL_TRACES_SAMPLER_ARG", arg)
			if _, _, err := checkEnvironment(); (err == nil) != ok {
				t.Errorf("%v", err)
			}
		})
	}
}
