package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// stopTime bounds how long a broker may take to end after SIGTERM.
const stopTime = 60 * time.Second

var (
	errPortTaken  = errors.New("kafkatest: a port was taken meanwhile")
	errNotRunning = errors.New("kafkatest: the broker is not running")
)

// node is one broker of Apache Kafka: its files, and a process from Start to
// Stop or Kill.
type node struct {
	cluster *Cluster
	number  int
	java    string
	jars    string
	dir     string
	logging string

	mu      sync.Mutex
	process *os.Process
	ended   chan struct{} // closed when the process is gone and waited for
}

func (n *node) file(name string) string { return filepath.Join(n.dir, name) }

func (n *node) command(ctx context.Context, heap, class string, arguments ...string) *exec.Cmd {
	arguments = append([]string{
		"-Xmx" + heap,
		// Quick to start and small: a broker under test lives for seconds.
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Djava.awt.headless=true",
		"-Dlog4j2.configurationFile=" + n.logging,
		"-cp", filepath.Join(n.jars, "*"),
		class,
	}, arguments...)
	cmd := exec.CommandContext(ctx, n.java, arguments...) //nolint:gosec // the java on the PATH, for tests
	cmd.Dir = n.dir
	isolate(cmd)
	return cmd
}

// The files that Kafka's storage tool writes to a disk.
const (
	diskIdentity  = "meta.properties"
	diskBootstrap = "bootstrap.checkpoint" // the same for all disks with the same users
)

// formatted holds the bootstrap files that the storage tool wrote in this process, by its
// arguments: it is a Java program, which takes two seconds of CPU time for each disk.
var formatted struct {
	sync.Mutex
	bootstrap map[string][]byte
}

// format writes what a disk must hold before a broker accepts it as its own.
func (n *node) format(ctx context.Context, l layout) error {
	bootstrap, err := n.bootstrap(ctx, l)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(n.file("data"), 0o700); err != nil {
		return err
	}
	identity := fmt.Sprintf("version=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n", l.clusterID, n.number+1, newID())
	return errors.Join(
		os.WriteFile(filepath.Join(n.file("data"), diskIdentity), []byte(identity), 0o600),
		os.WriteFile(filepath.Join(n.file("data"), diskBootstrap), bootstrap, 0o600))
}

// bootstrap gives the bootstrap file, and has the storage tool write it at the first call.
func (n *node) bootstrap(ctx context.Context, l layout) ([]byte, error) {
	key := fmt.Sprint(n.jars, l.users())
	formatted.Lock()
	defer formatted.Unlock()
	if text, ok := formatted.bootstrap[key]; ok {
		return text, nil
	}
	arguments := append([]string{"format", "--config", n.file(serverSettings), "--cluster-id", l.clusterID}, l.users()...)
	var output bytes.Buffer
	err := onOwnThread(func() error {
		cmd := n.command(ctx, "128m", "kafka.tools.StorageTool", arguments...)
		cmd.Stdout, cmd.Stderr = &output, &output
		return cmd.Run()
	})
	if err != nil {
		return nil, fmt.Errorf("kafkatest: formatting broker %d: %w: %s", n.number, err, output.Bytes())
	}
	text, err := os.ReadFile(filepath.Join(n.file("data"), diskBootstrap))
	if err != nil {
		return nil, fmt.Errorf("kafkatest: formatting broker %d: %w", n.number, err)
	}
	if formatted.bootstrap == nil {
		formatted.bootstrap = map[string][]byte{}
	}
	formatted.bootstrap[key] = text
	return text, nil
}

// heap is what Java may use for one broker: those of a cluster have little to
// do each.
func (c *Cluster) heap() string {
	if c.config.Brokers > 1 {
		return "256m"
	}
	return "512m"
}

// launch starts the process. A goroutine with a thread of its own starts it and
// waits for it: the kernel kills a child when the thread that made it ends, not
// only when the whole process does.
func (n *node) launch() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil {
		return fmt.Errorf("kafkatest: broker %d is running", n.number)
	}
	log, err := os.OpenFile(n.file("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := n.command(context.Background(), n.cluster.heap(), "kafka.Kafka", n.file(serverSettings))
	cmd.Stdout, cmd.Stderr = log, log
	started := make(chan error)
	ended := make(chan struct{})
	go n.own(cmd, log, started, ended)
	if err := <-started; err != nil {
		return fmt.Errorf("kafkatest: starting broker %d: %w", n.number, err)
	}
	n.process, n.ended = cmd.Process, ended
	return nil
}

// own is the life of one process, from start to end.
func (n *node) own(cmd *exec.Cmd, log *os.File, started chan<- error, ended chan<- struct{}) {
	_ = onOwnThread(func() error {
		err := cmd.Start()
		started <- err
		if err != nil {
			return err
		}
		return cmd.Wait()
	})
	_ = log.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.process = nil
	close(ended)
}

// current is the running process and the channel that tells its end.
func (n *node) current() (*os.Process, <-chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return nil, nil, fmt.Errorf("%w: %d", errNotRunning, n.number)
	}
	return n.process, n.ended, nil
}

func (n *node) running() bool {
	_, _, err := n.current()
	return err == nil
}

// awaitReady waits until the broker answers and knows all that run.
func (n *node) awaitReady(ctx context.Context) error {
	_, ended, err := n.current()
	if err != nil {
		return n.explain(err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-ended:
			cancel(fmt.Errorf("%w: it ended while it started", errNotRunning))
		case <-ctx.Done():
		}
	}()
	want := 0
	for _, other := range n.cluster.nodes {
		if other.running() {
			want++
		}
	}
	err = poll(ctx, func() error {
		conn, err := n.cluster.dial(ctx, n.cluster.addresses[n.number])
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		known, err := conn.Brokers()
		if err != nil {
			return err
		}
		if len(known) < want {
			return fmt.Errorf("knows %d of %d brokers", len(known), want)
		}
		return nil
	})
	if err != nil {
		return n.explain(err)
	}
	return nil
}

// explain adds the end of the log to an error.
func (n *node) explain(err error) error {
	tail := n.tail()
	if strings.Contains(tail, "Address already in use") {
		err = errors.Join(errPortTaken, err)
	}
	return fmt.Errorf("kafkatest: broker %d: %w\n%s", n.number, err, tail)
}

// tail is the end of the broker's log.
func (n *node) tail() string {
	const lines = 40
	content, err := os.ReadFile(n.file("log"))
	if err != nil {
		return "(no log)"
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// kill ends the process without a word to it, and waits until it is gone.
func (n *node) kill() error {
	process, ended, err := n.current()
	if err != nil {
		return err
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-ended
	return nil
}

func (n *node) close() error {
	if err := n.kill(); err != nil && !errors.Is(err, errNotRunning) {
		return err
	}
	return nil
}

// onOwnThread runs f on a thread that nothing else uses until f returns.
func onOwnThread(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return f()
}
