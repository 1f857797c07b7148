package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"invoicebox-worker/internal/loopback"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
)

const (
	dialTimeout = 5 * time.Second
	// requestTimeout is longer than the 9 s for which a dead follower stays in the ISR
	// by default, so that an append that waits for it is not repeated.
	requestTimeout = 30 * time.Second
	// metadataTTL bounds how long the client uses the old address of a moved leader. It is
	// also the deadline of the metadata request, so it cannot be tiny.
	metadataTTL = 2 * time.Second
)

// A DialFunc opens a connection, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Config configures the connections to a cluster.
type Config struct {
	Brokers  []string // host:port, at least one
	ClientID string   // shown in the broker's logs; may be empty
	TLS      *TLS     // nil: none
	SASL     *SASL    // nil: none
	Dial     DialFunc // nil: TCP; tests put a virtual network here
}

// TLS names the files of a TLS connection. CertFile and KeyFile must both be set, or
// neither.
type TLS struct {
	CAFile   string // PEM; empty: the system's
	CertFile string // PEM; the client's certificate
	KeyFile  string // PEM
	// Certificate returns the client's certificate for each handshake, instead of
	// CertFile and KeyFile.
	Certificate func() (*tls.Certificate, error)
}

// A Cluster creates dialers and transports for one cluster. It holds no connection and is
// safe for concurrent use.
type Cluster struct {
	brokers      []string
	clientID     string
	tls          *tls.Config
	sasl         sasl.Mechanism
	dial         DialFunc
	dialAttempts *dialAttempts
	answered     atomic.Bool // a request was answered
	plaintext    *plaintextGuard
}

// New checks the settings and the files that they name.
func New(c Config) (*Cluster, error) {
	if len(c.Brokers) == 0 {
		return nil, errors.New("kafka: no broker is configured")
	}
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("kafka: broker %q is not host:port", b)
		}
	}
	cluster := &Cluster{brokers: slices.Clone(c.Brokers), clientID: c.ClientID, dial: c.Dial, dialAttempts: new(dialAttempts)}
	if cluster.dial == nil {
		cluster.dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	var err error
	if cluster.tls, err = c.TLS.config(); err != nil {
		return nil, err
	}
	if cluster.sasl, err = c.SASL.mechanism(); err != nil {
		return nil, err
	}
	cluster.plaintext = newPlaintextGuard(c)
	for _, b := range c.Brokers {
		if err := cluster.plaintext.check(b); err != nil {
			return nil, err
		}
	}
	cluster.dial = cluster.plaintext.wrapDial(cluster.dialAttempts.wrapDial(loopback.WrapDial(cluster.dial)))
	return cluster, nil
}

// Brokers returns the configured addresses.
func (c *Cluster) Brokers() []string { return slices.Clone(c.brokers) }

// Dialer creates a dialer for the parts of the library that need one. If through is not
// nil, it wraps the function that opens connections.
func (c *Cluster) Dialer(through func(DialFunc) DialFunc) *kafkago.Dialer {
	dial := c.dial
	if through != nil {
		dial = through(dial)
	}
	d := &kafkago.Dialer{ClientID: c.clientID, Timeout: dialTimeout, DialFunc: dial, TLS: c.tls}
	if c.tls != nil || c.sasl != nil {
		d.DialFunc, d.TLS = c.wrapAuth(dial), nil
	}
	return d
}

// Transport creates a pool of connections. It requests the metadata of the given topics,
// or of all topics if there are none. The caller ends it with CloseIdleConnections.
func (c *Cluster) Transport(topics ...string) *kafkago.Transport {
	t := &kafkago.Transport{
		Dial: c.dial, DialTimeout: dialTimeout, IdleTimeout: time.Minute, MetadataTTL: metadataTTL,
		MetadataTopics: topics, ClientID: c.clientID, TLS: c.tls,
	}
	if c.sasl != nil {
		t.Dial, t.TLS = c.wrapAuth(c.dial), nil
	}
	return t
}

// Client creates a client on a transport.
func (c *Cluster) Client(t kafkago.RoundTripper) *kafkago.Client {
	return &kafkago.Client{Addr: kafkago.TCP(c.brokers...), Timeout: requestTimeout, Transport: roundTripper{t, c}}
}

func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("kafka: CA file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka: CA file %s holds no PEM certificate", t.CAFile)
		}
	}
	if t.Certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.Certificate() }
		return config, nil
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("kafka: a client certificate needs both its certificate file and its key file")
	}
	if t.CertFile != "" {
		certFile, keyFile := t.CertFile, t.KeyFile
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(certFile, keyFile)
			if err != nil {
				return nil, fmt.Errorf("kafka: client certificate: %w", err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return config, nil
}
