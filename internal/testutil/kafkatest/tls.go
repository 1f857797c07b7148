package kafkatest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The files of a cluster's certificates, in its folder.
const (
	authorityFile  = "authority.pem"
	brokerFile     = "broker.pem" // key and certificate together, as Kafka reads them
	clientCertFile = "client-certificate.pem"
	clientKeyFile  = "client-key.pem"
)

// certificatesLast is longer than any test and shorter than any use elsewhere.
const certificatesLast = 24 * time.Hour

// CertificateFiles are what a client needs to reach a cluster that speaks TLS:
// paths of PEM files, the key readable by its owner only.
type CertificateFiles struct {
	Authority   string // the authority that signed the brokers' certificates
	Certificate string // the client's own, which the brokers ask for
	Key         string
}

// WithTLS makes the brokers listen with TLS and ask every client for a
// certificate; with [WithSASL] the password goes over that TLS. Authority and
// certificates are made for the cluster, see [Cluster.Certificates]. Apache Kafka
// only: an embedded broker refuses to start.
func WithTLS() Option { return func(c *Config) { c.TLS = true } }

// Certificates gives the files of a cluster that was started with [WithTLS].
// They go with the cluster.
func (c *Cluster) Certificates() CertificateFiles {
	return CertificateFiles{
		Authority:   filepath.Join(c.dir.path, authorityFile),
		Certificate: filepath.Join(c.dir.path, clientCertFile),
		Key:         filepath.Join(c.dir.path, clientKeyFile),
	}
}

// tls is what this package's own connections need; nil without TLS.
func (c *Cluster) tls() (*tls.Config, error) {
	if !c.config.TLS {
		return nil, nil
	}
	files := c.Certificates()
	authority, err := os.ReadFile(files.Authority)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("kafkatest: the authority's file holds no certificate")
	}
	own, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{own}}, nil
}

// makeCertificates writes an authority and what it signs into the folder.
func makeCertificates(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	authority := template("the authority of a test")
	authority.IsCA, authority.BasicConstraintsValid, authority.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, &key.PublicKey, key)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, authorityFile), &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		return err
	}
	broker := template("broker")
	broker.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	broker.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	own, certificate, err := signed(broker, authority, key)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, brokerFile), own, certificate); err != nil {
		return err
	}
	client := template("client")
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if own, certificate, err = signed(client, authority, key); err != nil {
		return err
	}
	return errors.Join(
		writePEM(filepath.Join(dir, clientCertFile), certificate),
		writePEM(filepath.Join(dir, clientKeyFile), own),
	)
}

func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificatesLast),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// signed makes a key and has the authority sign its certificate.
func signed(t, authority *x509.Certificate, by *ecdsa.PrivateKey) (key, certificate *pem.Block, err error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, authority, &own.PublicKey, by)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		return nil, nil, err
	}
	return &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}, &pem.Block{Type: "CERTIFICATE", Bytes: der}, nil
}

func writePEM(path string, blocks ...*pem.Block) error {
	var text []byte
	for _, b := range blocks {
		text = append(text, pem.EncodeToMemory(b)...)
	}
	return os.WriteFile(path, text, 0o600)
}

// secure adds TLS to a broker's settings.
func (l layout) secure(p map[string]string) {
	protocol := "SSL"
	if l.config.SASL != nil {
		protocol = "SASL_SSL"
	}
	p["listener.security.protocol.map"] = "CLIENT:" + protocol + ",INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
	const client = "listener.name.client.ssl."
	p[client+"keystore.type"], p[client+"keystore.location"] = "PEM", filepath.Join(l.dir, brokerFile)
	p[client+"truststore.type"], p[client+"truststore.location"] = "PEM", filepath.Join(l.dir, authorityFile)
	p[client+"client.auth"] = "required"
}
