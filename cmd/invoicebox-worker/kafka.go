package main

import (
	"crypto/tls"
	"log/slog"

	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/secretfile"
)

// kafka collects the settings of the brokers and reads their files, so that an error names
// the setting.
func (s *settings) kafka(logger *slog.Logger) (kafka.Config, error) {
	c := kafka.Config{Brokers: s.KafkaBrokers, ClientID: "invoicebox-worker"}
	var err error
	if c.TLS, err = s.kafkaTLS(logger); err != nil {
		return c, err
	}
	c.SASL, err = s.kafkaSASL(logger)
	return c, err
}

// connection connects commands to the brokers.
func (s *settings) connection(logger *slog.Logger) (*kafka.Cluster, error) {
	c, err := s.kafka(logger)
	if err != nil {
		return nil, err
	}
	return kafka.New(c)
}

func (s *settings) kafkaTLS(logger *slog.Logger) (*kafka.TLS, error) {
	for _, f := range []struct{ name, value, needs, other string }{
		{"kafka-cert-file", s.KafkaCertFile, "kafka-key-file", s.KafkaKeyFile},
		{"kafka-key-file", s.KafkaKeyFile, "kafka-cert-file", s.KafkaCertFile},
		{"kafka-ca-file", s.KafkaCAFile, "", "-"},
	} {
		switch {
		case f.value == "":
		case !s.KafkaTLS:
			return nil, s.given.Wrong(f.name, f.value, "needs --kafka-tls")
		case f.other == "":
			return nil, s.given.Wrong(f.name, f.value, "needs --"+f.needs)
		}
	}
	if !s.KafkaTLS {
		return nil, nil
	}
	if s.KafkaCAFile != "" {
		if _, err := s.authorities("kafka-ca-file", s.KafkaCAFile, logger); err != nil {
			return nil, err
		}
	}
	out := &kafka.TLS{CAFile: s.KafkaCAFile}
	if s.KafkaKeyFile != "" {
		pair, err := secretfile.Watch("kafka-cert-file", secretfile.AtOnce, logger, func() (tls.Certificate, error) {
			return s.certificate(s.KafkaCertFile, s.KafkaKeyFile)
		}, s.KafkaCertFile, s.KafkaKeyFile)
		if err != nil {
			return nil, s.given.Wrong("kafka-cert-file", s.KafkaCertFile, err.Error())
		}
		s.watch(pair)
		out.Certificate = func() (*tls.Certificate, error) { c := pair.Get(); return &c, nil }
	}
	return out, nil
}

func (s *settings) kafkaSASL(logger *slog.Logger) (*kafka.SASL, error) {
	if s.KafkaSASLMechanism == "" {
		if s.KafkaUsername != "" {
			return nil, s.given.Wrong("kafka-username", s.KafkaUsername, "needs --kafka-sasl-mechanism")
		}
		if s.KafkaPasswordFile != "" {
			return nil, s.given.Wrong("kafka-password-file", s.KafkaPasswordFile, "needs --kafka-sasl-mechanism")
		}
		return nil, nil
	}
	if s.KafkaUsername == "" {
		return nil, s.given.Wrong("kafka-username", "", "must be set with --kafka-sasl-mechanism")
	}
	if s.KafkaPasswordFile == "" {
		return nil, s.given.Wrong("kafka-password-file", "", "must be set with --kafka-sasl-mechanism")
	}
	password, err := s.secretFile("kafka-password-file", s.KafkaPasswordFile, secretfile.Key, logger)
	if err != nil {
		return nil, err
	}
	return &kafka.SASL{
		Mechanism: s.KafkaSASLMechanism, Username: s.KafkaUsername,
		Password: func() (secret.String, error) { return password.Get(), nil },
	}, nil
}
