package kafka_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"go.uber.org/goleak"

	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/testutil/cleanenv"
	"invoicebox-worker/internal/testutil/kafkatest"
)

func TestMain(m *testing.M) {
	cleanenv.Use()
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("invoicebox-worker/internal/testutil/kafkatest.(*node).own"))
}

// ask makes one request and gives its error, explained.
func ask(t *testing.T, c kafka.Config) error {
	t.Helper()
	cluster, err := kafka.New(c)
	if err != nil {
		t.Fatal(err)
	}
	var lines kafka.ConnTracker
	transport := lines.Transport(cluster)
	defer lines.CloseAll()
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = cluster.Client(transport).Metadata(ctx, &kafkago.MetadataRequest{})
	return kafka.Wrap(err)
}

func password(text string) func() (secret.String, error) {
	return func() (secret.String, error) { return secret.New(text), nil }
}

func testClusterSASL(t *testing.T) {
	for kind, mechanism := range map[string]string{kafka.Plain: kafkatest.Plain, kafka.ScramSHA256: kafkatest.ScramSHA256, kafka.ScramSHA512: kafkatest.ScramSHA512} {
		t.Run(kind, func(t *testing.T) {
			c := kafkatest.Embedded(t, kafkatest.WithSASL(kafkatest.SASL{Mechanism: mechanism, Username: "worker", Password: "right"}))
			good := kafka.Config{Brokers: c.Brokers(), SASL: &kafka.SASL{Mechanism: kind, Username: "worker", Password: password("right")}}
			if err := ask(t, good); err != nil {
				t.Errorf("the right password: %v", err)
			}
			bad := good
			bad.SASL = &kafka.SASL{Mechanism: kind, Username: "worker", Password: password("wr0ng-marker")}
			// The embedded broker only hangs up; Apache Kafka says why.
			err := ask(t, bad)
			if err == nil || !strings.Contains(err.Error(), "SASL") || strings.Contains(err.Error(), "wr0ng-marker") {
				t.Errorf("a wrong password: %v", err)
			}
			if err := ask(t, kafka.Config{Brokers: c.Brokers()}); err == nil || !strings.Contains(err.Error(), "SASL") {
				t.Errorf("no SASL: %v", err)
			}
		})
	}
}

func testClusterSASLOnApacheKafka(t *testing.T) {
	c := kafkatest.Real(t, kafkatest.WithSASL(kafkatest.SASL{Mechanism: kafkatest.ScramSHA512, Username: "worker", Password: "right"}))
	config := kafka.Config{Brokers: c.Brokers(), SASL: &kafka.SASL{Mechanism: kafka.ScramSHA512, Username: "worker", Password: password("right")}}
	if err := ask(t, config); err != nil {
		t.Errorf("the right password: %v", err)
	}
	config.SASL = &kafka.SASL{Mechanism: kafka.ScramSHA512, Username: "worker", Password: password("wr0ng-marker")}
	if err := ask(t, config); kafka.ClassOf(err) != kafka.Authentication || strings.Contains(err.Error(), "wr0ng-marker") {
		t.Errorf("a wrong password: %v", err)
	}
}

func testClusterTLSWithoutTLSListener(t *testing.T) {
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		err := ask(t, kafka.Config{Brokers: c.Brokers(), TLS: &kafka.TLS{}})
		if err == nil || !strings.Contains(err.Error(), "TLS") {
			t.Errorf("the words do not name TLS: %v", err)
		}
	})
}

func testClusterUnreachableBroker(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	if err := ask(t, kafka.Config{Brokers: []string{address}}); kafka.ClassOf(err) != kafka.Unreachable {
		t.Errorf("%v", err)
	}
}

func TestWrap(t *testing.T) {
	t.Run("MissingClientCertificate", testWrapMissingClientCertificate)
	t.Run("Classes", testWrapClasses)
}

// The library's errors and what becomes of them.
func testWrapClasses(t *testing.T) {
	for _, row := range []struct {
		err  error
		want kafka.ErrorClass
	}{
		{nil, ""},
		{kafkago.TopicAuthorizationFailed, kafka.Authorization},
		{kafkago.GroupAuthorizationFailed, kafka.Authorization},
		{fmt.Errorf("x: %w", kafkago.GroupCoordinatorNotAvailable), kafka.Coordinator},
		{kafkago.NotLeaderForPartition, kafka.Leader},
		{kafkago.UnknownTopicOrPartition, kafka.MissingTopic},
		{protocol.NewErrNoTopic("t"), kafka.MissingTopic},
		{protocol.NewErrNoPartition("t", 1), kafka.Leader},
		{protocol.NewErrNoLeader("t", 1), kafka.Leader},
		{kafkago.MessageSizeTooLarge, kafka.TooLarge},
		{kafkago.InconsistentGroupProtocol, kafka.Refused},
		{fmt.Errorf("%w: broker appears to be expecting TLS", io.ErrUnexpectedEOF), kafka.TLSFault},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, kafka.TLSFault},
		{io.ErrUnexpectedEOF, kafka.Unreachable},
		{context.DeadlineExceeded, kafka.Timeout},
		{&net.DNSError{Err: "no such host", Name: "nowhere"}, kafka.Unreachable},
		{errors.New("odd"), kafka.Other},
	} {
		if got := kafka.ClassOf(row.err); got != row.want {
			t.Errorf("%v is %q, want %q", row.err, got, row.want)
		}
		explained := kafka.Wrap(row.err)
		if (explained == nil) != (row.err == nil) || row.err != nil && !errors.Is(explained, row.err) {
			t.Errorf("%v explained is %v", row.err, explained)
		}
		if again := kafka.Wrap(explained); again != explained {
			t.Errorf("%v explained twice is %v", row.err, again)
		}
	}
}

func TestNew(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ok := []string{"localhost:9092"}
	for name, c := range map[string]kafka.Config{
		"no broker":           {},
		"no port":             {Brokers: []string{"localhost"}},
		"no host":             {Brokers: []string{":9092"}},
		"missing CA":          {Brokers: ok, TLS: &kafka.TLS{CAFile: filepath.Join(dir, "missing")}},
		"empty CA":            {Brokers: ok, TLS: &kafka.TLS{CAFile: empty}},
		"certificate alone":   {Brokers: ok, TLS: &kafka.TLS{CertFile: empty}},
		"bad certificate":     {Brokers: ok, TLS: &kafka.TLS{CertFile: empty, KeyFile: empty}},
		"unknown mechanism":   {Brokers: ok, SASL: &kafka.SASL{Mechanism: "gssapi", Username: "u", Password: password("p")}},
		"no user":             {Brokers: ok, SASL: &kafka.SASL{Mechanism: kafka.Plain, Password: password("p")}},
		"no password":         {Brokers: ok, SASL: &kafka.SASL{Mechanism: kafka.Plain, Username: "u"}},
		"unreadable password": {Brokers: ok, SASL: &kafka.SASL{Mechanism: kafka.Plain, Username: "u", Password: func() (secret.String, error) { return secret.String{}, os.ErrPermission }}},
	} {
		if _, err := kafka.New(c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// A listener that asks for a client's certificate ends the handshake of one that
// has none with an alert, which is no fault of the network.
func testWrapMissingClientCertificate(t *testing.T) {
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
