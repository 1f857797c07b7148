package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
)

// A Session is one authenticated connection to one broker, for requests whose responses
// the caller reads from the connection. It is not safe for concurrent use, except for
// Close.
type Session struct {
	net.Conn
	// Expires is when the broker ends the session unless it authenticates again
	// (KIP-368), Lifetime the time from its start to then; zero: never.
	Expires  time.Time
	Lifetime time.Duration

	protocolConn *protocol.Conn
	clientID     string
	versions     map[protocol.ApiKey]apiversions.ApiKeyResponse
	sent         int32 // correlation id of the last request
}

// Open connects to the broker at address, authenticates and requests the versions of its
// APIs. through is as for [Cluster.Dialer].
func (c *Cluster) Open(ctx context.Context, address string, through func(DialFunc) DialFunc) (*Session, error) {
	dial := c.dial
	if through != nil {
		dial = through(dial)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	cluster, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return c.open(ctx, cluster, address)
}

// open starts a session on a connection. It closes the connection if that fails.
func (c *Cluster) open(ctx context.Context, cluster net.Conn, address string) (*Session, error) {
	stop := context.AfterFunc(ctx, func() { _ = cluster.Close() })
	s, err := c.handshake(ctx, cluster, address)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = cluster.Close()
		if cause := ctx.Err(); cause != nil && errors.Is(err, net.ErrClosed) {
			err = cause
		}
		return nil, err
	}
	return s, nil
}

func (c *Cluster) handshake(ctx context.Context, cluster net.Conn, address string) (*Session, error) {
	if c.tls != nil {
		config := c.tls.Clone()
		if config.ServerName == "" {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			config.ServerName = host
		}
		secured := tls.Client(cluster, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		cluster = secured
	}
	s := &Session{Conn: cluster, clientID: c.clientID, versions: map[protocol.ApiKey]apiversions.ApiKeyResponse{}}
	p := protocol.NewConn(cluster, c.clientID)
	s.protocolConn = p
	answer, err := p.RoundTrip(new(apiversions.Request))
	if err != nil {
		return nil, err
	}
	known, ok := answer.(*apiversions.Response)
	switch {
	case !ok:
		return nil, errors.New("kafka: not an ApiVersions response")
	case known.ErrorCode != 0:
		return nil, kafkago.Error(known.ErrorCode)
	}
	for _, k := range known.ApiKeys {
		s.versions[protocol.ApiKey(k.ApiKey)] = k
	}
	if c.sasl == nil {
		return s, nil
	}
	lifetime, err := c.authenticate(ctx, p, s)
	if err == nil && lifetime > 0 {
		s.Expires, s.Lifetime = time.Now().Add(lifetime), lifetime
	}
	return s, err
}

// authenticate runs the SASL exchange and returns the session's lifetime, 0 for
// unlimited.
func (c *Cluster) authenticate(ctx context.Context, p *protocol.Conn, s *Session) (time.Duration, error) {
	handshake, _ := s.Version(protocol.SaslHandshake, 0, 1)
	authenticate, _ := s.Version(protocol.SaslAuthenticate, 0, 1)
	p.SetVersions(map[protocol.ApiKey]int16{protocol.SaslHandshake: handshake, protocol.SaslAuthenticate: authenticate})
	answer, err := p.RoundTrip(&saslhandshake.Request{Mechanism: c.sasl.Name()})
	if err != nil {
		return 0, err
	}
	if r, ok := answer.(*saslhandshake.Response); !ok || r.ErrorCode != 0 {
		if !ok {
			return 0, errors.New("kafka: not a SaslHandshake response")
		}
		return 0, kafkago.Error(r.ErrorCode)
	}
	exchange, message, err := c.sasl.Start(ctx)
	if err != nil {
		return 0, err
	}
	var lifetime time.Duration
	for done := false; !done; {
		answer, err := p.RoundTrip(&saslauthenticate.Request{AuthBytes: message})
		if errors.Is(err, io.EOF) { // a broker without error messages refuses so
			return 0, kafkago.SASLAuthenticationFailed
		}
		if err != nil {
			return 0, err
		}
		r, ok := answer.(*saslauthenticate.Response)
		switch {
		case !ok:
			return 0, errors.New("kafka: not a SaslAuthenticate response")
		case r.ErrorCode != 0:
			return 0, kafkago.Error(r.ErrorCode)
		}
		lifetime = time.Duration(r.SessionLifetimeMs) * time.Millisecond
		if done, message, err = exchange.Next(ctx, r.AuthBytes); err != nil {
			return 0, fmt.Errorf("%w: %w", kafkago.SASLAuthenticationFailed, err)
		}
	}
	return lifetime, nil
}

// Version returns the highest version of an API between lowest and highest that the
// broker offers.
func (s *Session) Version(key protocol.ApiKey, lowest, highest int16) (int16, bool) {
	r, ok := s.versions[key]
	if version := min(r.MaxVersion, highest); ok && version >= max(r.MinVersion, lowest) {
		return version, true
	}
	return lowest, false
}

// RoundTrip sends a request and reads its response, at a version between lowest and
// highest. A session uses either RoundTrip or Send.
func (s *Session) RoundTrip(ctx context.Context, message protocol.Message, lowest, highest int16) (protocol.Message, error) {
	version, ok := s.Version(message.ApiKey(), lowest, highest)
	if !ok {
		return nil, kafkago.UnsupportedVersion
	}
	deadline, _ := ctx.Deadline()
	if err := s.SetDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	s.sent++
	return protocol.RoundTrip(s.protocolConn, version, s.sent, s.clientID, message)
}

// Send writes a request. Its response begins with the correlation id.
func (s *Session) Send(version int16, message protocol.Message) (correlation int32, err error) {
	s.sent++
	return s.sent, protocol.WriteRequest(s.Conn, version, s.sent, s.clientID, message)
}
