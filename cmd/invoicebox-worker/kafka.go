package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"

	"invoicebox-worker/cmd/internal/worker"
	"invoicebox-worker/cmd/internal/worker/secretfile"
	"invoicebox-worker/internal/kafkaconn"
	"invoicebox-worker/internal/secret"
)

// kafka puts the settings about the brokers together and tries their files, so
// that what is wrong is told by the setting's name.
func (s *settings) kafka(logger *slog.Logger) (kafkaconn.Config, error) {
	c := kafkaconn.Config{Brokers: s.KafkaBrokers, ClientID: "invoicebox-worker"}
	var err error
	if c.TLS, err = s.kafkaTLS(); err != nil {
		return c, err
	}
	c.SASL, err = s.kafkaSASL(logger)
	return c, err
}

// connection is for the commands that need the brokers.
func (s *settings) connection(logger *slog.Logger) (*kafkaconn.Conn, error) {
	c, err := s.kafka(logger)
	if err != nil {
		return nil, err
	}
	return kafkaconn.New(c)
}

func (s *settings) wrong(name, value, right string) error {
	return &worker.SettingError{Setting: name, From: s.given[name], Value: value, Right: right}
}

func (s *settings) kafkaTLS() (*kafkaconn.TLS, error) {
	for _, f := range []struct{ name, value, needs, other string }{
		{"kafka-cert-file", s.KafkaCertFile, "kafka-key-file", s.KafkaKeyFile},
		{"kafka-key-file", s.KafkaKeyFile, "kafka-cert-file", s.KafkaCertFile},
		{"kafka-ca-file", s.KafkaCAFile, "", "-"},
	} {
		switch {
		case f.value == "":
		case !s.KafkaTLS:
			return nil, s.wrong(f.name, f.value, "needs --kafka-tls")
		case f.other == "":
			return nil, s.wrong(f.name, f.value, "needs --"+f.needs)
		}
	}
	if !s.KafkaTLS {
		return nil, nil
	}
	if s.KafkaCAFile != "" {
		doc, err := os.ReadFile(s.KafkaCAFile) // #nosec G304 -- the operator names the file
		if err != nil {
			return nil, s.wrong("kafka-ca-file", s.KafkaCAFile, "cannot be read: "+reason(err))
		}
		if !x509.NewCertPool().AppendCertsFromPEM(doc) {
			return nil, s.wrong("kafka-ca-file", s.KafkaCAFile, "holds no certificate in PEM")
		}
	}
	if s.KafkaKeyFile != "" {
		if info, err := os.Stat(s.KafkaKeyFile); err == nil && info.Mode().Perm()&0o077 != 0 {
			return nil, s.wrong("kafka-key-file", s.KafkaKeyFile, "is open to group or world; chmod 600 it")
		}
		if _, err := tls.LoadX509KeyPair(s.KafkaCertFile, s.KafkaKeyFile); err != nil {
			return nil, s.wrong("kafka-cert-file", s.KafkaCertFile, "is no PEM certificate that fits --kafka-key-file: "+reason(err))
		}
	}
	return &kafkaconn.TLS{CAFile: s.KafkaCAFile, CertFile: s.KafkaCertFile, KeyFile: s.KafkaKeyFile}, nil
}

func (s *settings) kafkaSASL(logger *slog.Logger) (*kafkaconn.SASL, error) {
	if s.KafkaSASLMechanism == "" {
		if s.KafkaUsername != "" {
			return nil, s.wrong("kafka-username", s.KafkaUsername, "needs --kafka-sasl-mechanism")
		}
		if s.KafkaPasswordFile != "" {
			return nil, s.wrong("kafka-password-file", s.KafkaPasswordFile, "needs --kafka-sasl-mechanism")
		}
		return nil, nil
	}
	if s.KafkaUsername == "" {
		return nil, s.wrong("kafka-username", "", "must be set with --kafka-sasl-mechanism")
	}
	if s.KafkaPasswordFile == "" {
		return nil, s.wrong("kafka-password-file", "", "must be set with --kafka-sasl-mechanism")
	}
	password, err := s.secretFile("kafka-password-file", s.KafkaPasswordFile, logger)
	if err != nil {
		return nil, err
	}
	return &kafkaconn.SASL{
		Mechanism: s.KafkaSASLMechanism, Username: s.KafkaUsername,
		Password: func() (secret.String, error) { return password.Get(), nil },
	}, nil
}

// secretFile opens a secret's file.
func (s *settings) secretFile(name, path string, logger *slog.Logger) (*secretfile.File, error) {
	f, err := secretfile.Open(path, logger)
	if err != nil {
		return nil, &worker.SettingError{Setting: name, From: s.given[name], Right: err.Error()}
	}
	return f, nil
}
