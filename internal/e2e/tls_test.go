package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// The worker reads and publishes over TLS with a certificate of its own and a
// SCRAM password, at a real broker; whoever lacks one of the three is turned
// away in words that say which.
func TestKafkaOverTLSWithScram(t *testing.T) {
	t.Parallel()
	const user, password = "worker", "made-up-password"
	c := kafkatest.Real(t, kafkatest.WithTLS(), kafkatest.WithSASL(kafkatest.SASL{Mechanism: kafkatest.ScramSHA512, Username: user, Password: password}))
	files := c.Certificates()
	r := newRig(t, c, calm(0), lifted(
		"--kafka-tls", "--kafka-ca-file", files.Authority, "--kafka-cert-file", files.Certificate, "--kafka-key-file", files.Key,
		"--kafka-sasl-mechanism", "scram-sha-512", "--kafka-username", user)...)
	r.write("password", password+"\n")
	r.extra = append(r.extra, "--kafka-password-file", r.path("password"))
	shops := shopNames("shop", 50)
	w := r.start()
	r.selected(shops...)
	r.entered(shops...)
	r.awaitResults(schemas.TypeActivated, len(shops), 2*time.Minute)
	r.awaitResults(schemas.TypeInvited, len(shops), time.Minute)
	if code, _ := w.terminate(40 * time.Second); code != 0 {
		t.Errorf("exit status %d after SIGTERM", code)
	}
	r.judge()
	if strings.Contains(w.log.tail(1<<20), password) {
		t.Error("the password is in the log")
	}

	good := kafka.TLS{CAFile: files.Authority, CertFile: files.Certificate, KeyFile: files.Key}
	scram := kafka.SASL{Mechanism: kafka.ScramSHA512, Username: user, Password: func() (secret.String, error) { return secret.New(password), nil }}
	wrong := scram
	wrong.Password = func() (secret.String, error) { return secret.New("another-password"), nil }
	for name, test := range map[string]struct {
		tls   *kafka.TLS
		sasl  *kafka.SASL
		class kafka.ErrorClass // "": it works
	}{
		"all there":            {&good, &scram, ""},
		"no TLS":               {nil, &scram, kafka.TLSFault},
		"another authority":    {&kafka.TLS{CertFile: files.Certificate, KeyFile: files.Key}, &scram, kafka.TLSFault},
		"no certificate":       {&kafka.TLS{CAFile: files.Authority}, &scram, kafka.TLSFault},
		"a wrong password":     {&good, &wrong, kafka.Authentication},
		"no password, but TLS": {&good, nil, kafka.Unreachable}, // Kafka only hangs up; the words say what it may be
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := askKafka(t, kafka.Config{Brokers: c.Brokers(), TLS: test.tls, SASL: test.sasl})
			if got := kafka.ClassOf(err); got != test.class {
				t.Errorf("class %q, want %q: %v", got, test.class, err)
			}
			if err != nil && strings.Contains(err.Error(), "password\"") {
				t.Errorf("the error quotes a password: %v", err)
			}
		})
	}
}

// askKafka makes one request and gives its error, explained.
func askKafka(t *testing.T, config kafka.Config) error {
	t.Helper()
	conn, err := kafka.New(config)
	if err != nil {
		t.Fatal(err)
	}
	transport := conn.Transport()
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = conn.Client(transport).Metadata(ctx, &kafkago.MetadataRequest{})
	return kafka.Wrap(err)
}
