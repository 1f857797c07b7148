package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"invoicebox-worker/internal/secret"
)

// The SASL mechanisms, by their names in settings.
const (
	Plain       = "plain"
	ScramSHA256 = "scram-sha-256"
	ScramSHA512 = "scram-sha-512"
)

// SASL configures authentication.
type SASL struct {
	Mechanism string // Plain, ScramSHA256 or ScramSHA512
	Username  string
	// Password is called for each authentication. Its error must not contain what it
	// read.
	Password func() (secret.String, error)
}

func (s *SASL) mechanism() (sasl.Mechanism, error) {
	if s == nil {
		return nil, nil
	}
	names := map[string]string{Plain: "PLAIN", ScramSHA256: "SCRAM-SHA-256", ScramSHA512: "SCRAM-SHA-512"}
	name, ok := names[s.Mechanism]
	if !ok {
		return nil, fmt.Errorf("kafka: SASL mechanism %q is not plain, scram-sha-256 or scram-sha-512", s.Mechanism)
	}
	if s.Username == "" || s.Password == nil {
		return nil, errors.New("kafka: SASL needs a user name and a password")
	}
	if _, err := s.Password(); err != nil {
		return nil, fmt.Errorf("kafka: SASL password: %w", err)
	}
	return lazyMechanism{name: name, sasl: *s}, nil
}

// lazyMechanism is a mechanism that reads its password when it starts.
type lazyMechanism struct {
	name string
	sasl SASL
}

func (f lazyMechanism) Name() string { return f.name }

func (f lazyMechanism) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	password, err := f.sasl.Password()
	if err != nil {
		return nil, nil, fmt.Errorf("kafka: SASL password: %w", err)
	}
	var m sasl.Mechanism
	switch f.sasl.Mechanism {
	case ScramSHA256:
		m, err = scram.Mechanism(scram.SHA256, f.sasl.Username, password.Reveal())
	case ScramSHA512:
		m, err = scram.Mechanism(scram.SHA512, f.sasl.Username, password.Reveal())
	default:
		m = plain.Mechanism{Username: f.sasl.Username, Password: password.Reveal()}
	}
	if err != nil {
		// The library's error may contain the password.
		return nil, nil, errors.New("kafka: SASL: the user name or the password holds characters that SCRAM does not allow")
	}
	return m.Start(ctx)
}
