package kafkatest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"invoicebox-worker/internal/testutil/freeport"
)

const (
	// jarsVariable names the folder that holds the jars of Apache Kafka.
	jarsVariable = "INVOICEBOX_TEST_KAFKA"
	// requireVariable lists, with commas or spaces, what must not be missing.
	requireVariable = "INVOICEBOX_TEST_REQUIRE"
	// startAttempts bounds the tries with other ports: a port that was free
	// when it was chosen may be taken when the broker listens.
	startAttempts = 3
)

// ErrNotInstalled says that Apache Kafka cannot be started here, for want of
// its jars, of Java or of the right system.
var ErrNotInstalled = errors.New("kafkatest: Apache Kafka is not installed")

// StartReal starts Apache Kafka and returns when every broker answers and every
// topic has its leaders. The context bounds the start only. The error is
// ErrNotInstalled where it cannot be had at all. The caller closes the cluster.
func StartReal(ctx context.Context, config Config) (*Cluster, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	java, jars, err := installation(config.JarDir)
	if err != nil {
		return nil, err
	}
	// Brokers that start together share the processors.
	ctx, cancel := context.WithTimeout(ctx, patience*time.Duration(config.Brokers+1)/2)
	defer cancel()
	var c *Cluster
	for range startAttempts {
		c, err = startOnce(ctx, config, java, jars)
		if err == nil || !errors.Is(err, errPortTaken) {
			break
		}
	}
	return c, err
}

func startOnce(ctx context.Context, config Config, java, jars string) (c *Cluster, err error) {
	dir, err := newFolder()
	if err != nil {
		return nil, err
	}
	c = &Cluster{config: config, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
			c = nil
		}
	}()
	var ports []int
	for range portsPerNode * config.Brokers {
		port, err := freeport.Reserve(ctx)
		if err != nil {
			return c, err
		}
		c.ports = append(c.ports, port)
		ports = append(ports, port.Number)
	}
	if err := os.WriteFile(filepath.Join(dir.path, logSettings), []byte(logProperties), 0o600); err != nil {
		return c, err
	}
	if config.TLS {
		if err := makeCertificates(dir.path); err != nil {
			return c, fmt.Errorf("kafkatest: certificates: %w", err)
		}
	}
	layout := layout{config: config, dir: dir.path, ports: ports, clusterID: newID()}
	for i := range config.Brokers {
		n := &node{
			cluster: c,
			number:  i,
			java:    java,
			jars:    jars,
			dir:     filepath.Join(dir.path, fmt.Sprintf("broker-%d", i)),
			logging: filepath.Join(dir.path, logSettings),
		}
		if err := os.Mkdir(n.dir, 0o700); err != nil {
			return c, err
		}
		if err := os.WriteFile(n.file(serverSettings), layout.properties(i, n.file("data")), 0o600); err != nil {
			return c, err
		}
		c.nodes = append(c.nodes, n)
		c.addresses = append(c.addresses, layout.address(i, clientPort))
	}
	err = c.boot(ctx, layout)
	return c, err
}

// newID makes an identity as Kafka writes one.
func newID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	id[0] &= 0x7f // the text must not begin with a dash: the storage tool would take it for an option
	return base64.RawURLEncoding.EncodeToString(id)
}

// boot formats the disks, starts all brokers at once, since they need each
// other to become ready, and creates the topics.
func (c *Cluster) boot(ctx context.Context, layout layout) error {
	failed := make(chan error, len(c.nodes))
	for _, n := range c.nodes {
		go func() { failed <- n.format(ctx, layout) }()
	}
	if err := firstError(failed, len(c.nodes)); err != nil {
		return err
	}
	for _, n := range c.nodes {
		if err := n.launch(); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		go func() { failed <- n.awaitReady(ctx) }()
	}
	if err := firstError(failed, len(c.nodes)); err != nil {
		return err
	}
	return c.CreateTopics(ctx, c.config.Topics...)
}

func firstError(results <-chan error, n int) error {
	var errs []error
	for range n {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

// installation finds Java and the folder of jars.
func installation(jarDir string) (java, jars string, err error) {
	if !canStartReal {
		return "", "", fmt.Errorf("%w: brokers are started on Linux only", ErrNotInstalled)
	}
	jars = jarDir
	if jars == "" {
		jars = os.Getenv(jarsVariable)
	}
	if jars == "" {
		return "", "", fmt.Errorf("%w: %s names no folder of jars (internal/testutil/kafkatest/fetch-kafka.sh makes one)", ErrNotInstalled, jarsVariable)
	}
	java, err = exec.LookPath("java")
	if err != nil {
		return "", "", fmt.Errorf("%w: there is no java on the PATH", ErrNotInstalled)
	}
	found, err := filepath.Glob(filepath.Join(jars, "kafka_*.jar"))
	if err != nil || len(found) == 0 {
		// Not ErrNotInstalled: a folder that is named must be right.
		return "", "", fmt.Errorf("kafkatest: the folder of %s has no kafka_*.jar: %w", jarsVariable, fs.ErrNotExist)
	}
	jars, err = filepath.Abs(jars)
	return java, jars, err
}
