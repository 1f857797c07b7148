package otlp

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"invoicebox-worker/internal/testutil/cleanenv"
	"invoicebox-worker/internal/testutil/freeport"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/scenario"
	"invoicebox-worker/internal/testutil/workertest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

func TestMain(m *testing.M) {
	cleanenv.Use()
	os.Exit(m.Run())
}

const parent = "b7ad6b7169203331"

// traceOf is the trace of a shop's code.
func traceOf(shop int) string { return fmt.Sprintf("0af7651916cd43dd8448eb211c80%04x", shop) }

// The Collector's receiver gets the traces of all activations whole, and their parents as the
// platform set them.
func TestReceiver(t *testing.T) {
	const shops = 50
	sink, endpoint, ca := startReceiver(t)
	w := start(t, "OTEL_EXPORTER_OTLP_CERTIFICATE="+ca, "OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_HEADERS=x-tenant=shops",
		"OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test", "INVOICEBOX_WORKER_OTLP_ENDPOINT=https://"+endpoint)
	var messages []kafkago.Message
	for i := range shops {
		m := scenario.Event(schemas.TypeCodeEntered, fmt.Sprint("e", i), fmt.Sprint("shop-", i), fmt.Sprintf(`{"shopId":"shop-%d","activationCode":"code-%d"}`, i, i))
		m.Headers = append(m.Headers, kafkago.Header{Key: "ce_traceparent", Value: []byte("00-" + traceOf(i) + "-" + parent + "-01")})
		messages = append(messages, m)
	}
	w.cluster.Produce(t, w.topics[schemas.TypeCodeEntered], messages)
	w.cluster.Await(t, w.topics[schemas.TypeActivated], shops)
	w.Stop()

	found := map[string][]string{}
	for _, traces := range sink.AllTraces() {
		for _, rs := range traces.ResourceSpans().All() {
			for key, want := range map[string]string{"service.name": "invoicebox-worker", "deployment.environment.name": "test", "telemetry.sdk.language": "go"} {
				if v, ok := rs.Resource().Attributes().Get(key); !ok || v.Str() != want {
					t.Errorf("resource attribute %s: %q, not %q", key, v.Str(), want)
				}
			}
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					name, _, _ := strings.Cut(s.Name(), " ")
					if (s.Kind() == ptrace.SpanKindConsumer || s.Kind() == ptrace.SpanKindProducer || name == "activate") != (s.ParentSpanID().String() == parent) {
						t.Errorf("%s: parent %s", s.Name(), s.ParentSpanID())
					}
					if s.EndTimestamp() < s.StartTimestamp() {
						t.Errorf("%s ends before it starts", s.Name())
					}
					found[s.TraceID().String()] = append(found[s.TraceID().String()], name)
				}
			}
		}
	}
	if len(found) != shops {
		t.Errorf("%d traces, not %d", len(found), shops)
	}
	want := []string{"GET", "POST", "activate", "begin", "claim", "process", "save", "save", "send", "store"}
	for i := range shops {
		if got := slices.Sorted(slices.Values(found[traceOf(i)])); !slices.Equal(got, want) {
			t.Errorf("shop %d: %q, not %q", i, got, want)
		}
	}
}

// startReceiver starts the Collector's OTLP receiver, over HTTP and TLS.
func startReceiver(t *testing.T) (sink *consumertest.TracesSink, endpoint, ca string) {
	t.Helper()
	certificate, key := writeCertificate(t)
	endpoint = freeport.Address(t)
	factory, sink := otlpreceiver.NewFactory(), new(consumertest.TracesSink)
	config := factory.CreateDefaultConfig()
	err := confmap.NewFromStringMap(map[string]any{"protocols": map[string]any{"http": map[string]any{
		"endpoint": endpoint, "tls": map[string]any{"cert_file": certificate, "key_file": key},
	}}}).Unmarshal(config)
	if err != nil {
		t.Fatal(err)
	}
	r, err := factory.CreateTraces(t.Context(), receivertest.NewNopSettings(factory.Type()), config, sink)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(context.Background(), componenttest.NewNopHost()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Shutdown(context.Background()) })
	return sink, endpoint, certificate
}

// writeCertificate writes the certificate of httptest, which is for 127.0.0.1.
func writeCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	private, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", s.Certificate().Raw), write("key.pem", "PRIVATE KEY", private)
}

// A worker is a process with a broker and a sandbox.
type worker struct {
	*workertest.Process
	cluster *kafkatest.Cluster
	topics  map[string]string
}

func start(t *testing.T, environment ...string) *worker {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &worker{cluster: kafkatest.Embedded(t), topics: map[string]string{}}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	program, err := workertest.Build(t.Context(), dir, "cmd/invoicebox-worker")
	must(err)
	box, err := sandbox.New(sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1})
	must(err)
	api := httptest.NewServer(box.API())
	t.Cleanup(api.Close)
	must(os.WriteFile(path("token"), []byte(box.Accounts()[0].Token), 0o600))
	if out, err := exec.CommandContext(t.Context(), program, "keys", "create", "--keyset-file", path("keyset.json")).CombinedOutput(); err != nil {
		t.Fatalf("keys create: %v\n%s", err, out)
	}
	listen := freeport.Address(t)
	args := []string{
		"--journal-url", "sqlite:" + path("journal.db"), "--keyset-file", path("keyset.json"), "--kafka-brokers", strings.Join(w.cluster.Brokers(), ","),
		"--invoicebox-url", api.URL, "--start", "earliest", "--partner-id", box.Accounts()[0].PartnerID, "--token-file", path("token"),
		"--requests-per-window", "100000", "--egress-requests-per-window", "100000",
	}
	for _, name := range slices.Concat(schemas.InputTypes(), schemas.OutputTypes()) {
		w.topics[name] = w.cluster.NewTopic(t, name, 2)
		args = append(args, "--topic", name+"="+w.topics[name])
	}
	w.Process = workertest.Start(t, listen, program, environment, args...)
	return w
}
