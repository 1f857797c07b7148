package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/testutil/freeport"
)

// A Patroni is a cluster of three servers with a synchronous standby. Patroni decides
// which of them is the primary, with a lock in etcd that ends after PatroniTTL.
type Patroni struct {
	nodes []*node
	etcd  string // address
	// network has a namespace for each node; nil where that is not permitted, because of whole.
	network *network
	whole   error
}

// PatroniTTL is after how long Patroni replaces a primary that is gone. It permits no less.
const PatroniTTL = 20 * time.Second

// A node is a Patroni process and the server that it runs.
type node struct {
	number   int // from 0
	name     string
	folder   string
	database string // address
	start    func() *exec.Cmd
	process  *exec.Cmd // nil while it is killed
}

// settingsFile are a node's settings, in its folder.
const settingsFile = "patroni.yaml"

const patroniSettings = `scope: test
name: %[1]s
restapi: {listen: %[2]q, connect_address: %[2]q}
etcd3: {host: %[3]q}
bootstrap:
  dcs:
    ttl: %[4]d
    loop_wait: 2
    retry_timeout: 3
    synchronous_mode: true
    synchronous_mode_strict: true
    primary_start_timeout: 0
    postgresql:
      use_pg_rewind: true
      parameters: {max_connections: 200, shared_buffers: 64MB, fsync: "on", synchronous_commit: "on", wal_log_hints: "on"}
  initdb: [{encoding: UTF8}, {locale: C}, {auth: trust}]
  pg_hba: [host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust, host all all samenet trust, host replication all samenet trust]
postgresql:
  listen: %[5]q
  connect_address: %[5]q
  data_dir: %[6]s/data
  bin_dir: %[7]s
  pgpass: %[6]s/pgpass
  parameters: {unix_socket_directories: %[6]q}
  authentication:
    superuser: {username: test, password: test}
    replication: {username: replicator, password: test}
`

// StartPatroni starts three servers that end with the test. It needs the programs patroni
// and etcd.
func StartPatroni(t testing.TB) *Patroni {
	t.Helper()
	bin, user := binaries(t), owner(t)
	for _, program := range []string{"patroni", "patronictl", "etcd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not there: on Debian it is in the packages patroni and etcd-server", program)
		}
	}
	reach := func(folder string) {
		(&Server{data: filepath.Join(folder, "data"), owner: user}).reach(t)
	}
	begin := func(start func(*exec.Cmd) error, folder, name string, args ...string) *exec.Cmd {
		c := exec.CommandContext(context.Background(), name, args...) // #nosec G204 -- the test's own server
		c.SysProcAttr = &syscall.SysProcAttr{Credential: user}
		endWithUs(c.SysProcAttr)
		c.Dir = folder
		c.Env = append(os.Environ(), "LC_ALL=C", "HOME="+folder)
		log, err := os.OpenFile(filepath.Join(folder, filepath.Base(name)+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = log.Close() })
		c.Stdout, c.Stderr = log, log
		if err := start(c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	p, host := &Patroni{}, "127.0.0.1"
	if p.network, p.whole = newNetwork(t, 3); p.whole == nil {
		host = p.network.gateway()
	}
	address := func() string { return fmt.Sprintf("%s:%d", host, freeport.For(t)) }
	folder, peer := t.TempDir(), "http://"+address()
	p.etcd = address()
	reach(folder)
	etcd := begin((*exec.Cmd).Start, folder, "etcd", "--data-dir", filepath.Join(folder, "data"), "--listen-client-urls", "http://"+p.etcd, "--advertise-client-urls", "http://"+p.etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	t.Cleanup(func() { _ = etcd.Process.Kill(); _ = etcd.Wait() })
	for i := range 3 {
		start := (*exec.Cmd).Start
		if p.whole == nil {
			host = p.network.address(i)
			start = func(c *exec.Cmd) error { return p.network.start(i, c) }
		}
		n := &node{number: i, name: fmt.Sprintf("node%d", i+1), folder: t.TempDir(), database: address()}
		reach(n.folder)
		settings := filepath.Join(n.folder, settingsFile)
		text := fmt.Sprintf(patroniSettings, n.name, address(), p.etcd, int(PatroniTTL.Seconds()), n.database, n.folder, bin)
		if err := os.WriteFile(settings, []byte(text), 0o644); err != nil { // #nosec G306 -- another user reads it
			t.Fatal(err)
		}
		n.start = func() *exec.Cmd { return begin(start, n.folder, "patroni", settings) }
		p.nodes = append(p.nodes, n)
		n.process = n.start()
		t.Cleanup(func() { n.kill(); n.logs(t) })
	}
	p.await(t, "a primary and its standbys", p.healthy)
	return p
}

// await polls.
func (p *Patroni) await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * startWithin); !done(); <-time.After(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("Patroni: still not: %s", what)
		}
	}
}

// logs shows the end of a failed test's logs.
func (n *node) logs(t testing.TB) {
	t.Helper()
	if !t.Failed() {
		return
	}
	text, _ := os.ReadFile(filepath.Join(n.folder, "patroni.log"))
	t.Logf("%s:\n%s", n.name, text[max(0, len(text)-3000):])
}

// ask asks a node's server something that is true or a number; "" if it does not answer
// soon.
func (n *node) ask(sql string) (answer string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, "postgres://test@"+n.database+"/postgres?sslmode=disable")
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := conn.QueryRow(ctx, sql).Scan(&answer); err != nil {
		return ""
	}
	return answer
}

// primary is the node that can be written; nil for none.
func (p *Patroni) primary() *node {
	for _, n := range p.nodes {
		if n.ask("SELECT (NOT pg_is_in_recovery())::text") == "true" {
			return n
		}
	}
	return nil
}

// healthy tells whether one node is the primary, the others follow it, and one of these is
// synchronous.
func (p *Patroni) healthy() bool {
	standbys, primary := 0, p.primary()
	for _, n := range p.nodes {
		if n.ask("SELECT pg_is_in_recovery()::text") == "true" {
			standbys++
		}
	}
	return primary != nil && standbys == 2 &&
		primary.ask("SELECT count(*) || ' ' || count(*) FILTER (WHERE sync_state = 'sync') FROM pg_stat_replication WHERE state = 'streaming'") == "2 1"
}

// AwaitHealthy waits until all nodes run, and one of them is a synchronous standby.
func (p *Patroni) AwaitHealthy(t testing.TB) {
	t.Helper()
	p.await(t, "all nodes are there again", p.healthy)
}

// URL names a database of whichever server is the primary, which it makes.
func (p *Patroni) URL(t testing.TB, database string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	conn, err := pgx.Connect(ctx, "postgres://test@"+p.primary().database+"/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+database); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for _, n := range p.nodes {
		addresses = append(addresses, n.database)
		p.await(t, "the database is on "+n.name, func() bool {
			return n.ask("SELECT count(*)::text FROM pg_database WHERE datname = '"+database+"'") == "1"
		})
	}
	return fmt.Sprintf("postgres://test@%s/%s?sslmode=disable&target_session_attrs=read-write", strings.Join(addresses, ","), database)
}

// pids are Patroni's process, its server, and the server's children.
func (n *node) pids() []int {
	list := []int{n.process.Process.Pid}
	text, err := os.ReadFile(filepath.Join(n.folder, "data", "postmaster.pid"))
	var main int
	if err == nil {
		if _, err := fmt.Sscan(string(text), &main); err == nil {
			list = append(append(list, main), children(main)...)
		}
	}
	return append(list, children(n.process.Process.Pid)...)
}

// signal sends each a signal, and once more, because a process may have started another
// one meanwhile.
func (n *node) signal(s syscall.Signal) {
	for range 2 {
		for _, pid := range n.pids() {
			_ = syscall.Kill(pid, s) // it may have ended
		}
	}
}

func (n *node) kill() {
	if n.process == nil {
		return
	}
	n.signal(syscall.SIGKILL)
	_ = n.process.Wait() // it was killed
	n.process = nil
}

// KillPrimary kills the primary's machine: Patroni and the server at once. Back starts it
// again.
func (p *Patroni) KillPrimary(t testing.TB) (back func()) {
	t.Helper()
	n := p.mustPrimary(t)
	n.kill()
	return func() { n.process = n.start() }
}

// FreezePrimary stops the primary's machine, with all sessions of its server. Back lets it
// go on.
func (p *Patroni) FreezePrimary(t testing.TB) (back func()) {
	t.Helper()
	n := p.mustPrimary(t)
	n.signal(syscall.SIGSTOP)
	return func() { n.signal(syscall.SIGCONT) }
}

// CanCut returns why no node can be cut off here; nil if one can.
func (p *Patroni) CanCut() error { return p.whole }

// CutPrimary cuts the primary's machine off: from the other servers, from etcd and from
// everybody else. Its processes go on. Back joins it again.
func (p *Patroni) CutPrimary(t testing.TB) (back func()) {
	t.Helper()
	n := p.mustPrimary(t)
	if err := p.network.cut(n.number); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := p.network.join(n.number); err != nil {
			t.Fatal(err)
		}
	}
}

// Switch lets the synchronous standby take over in order.
func (p *Patroni) Switch(t testing.TB) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "patronictl", "-c", filepath.Join(p.mustPrimary(t).folder, settingsFile), "switchover", "--force") // #nosec G204 -- the test's own servers
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("patronictl switchover: %v\n%s", err, out)
	}
}

func (p *Patroni) mustPrimary(t testing.TB) *node {
	t.Helper()
	n := p.primary()
	if n == nil {
		t.Fatal("Patroni has no primary")
	}
	return n
}

// Primary names the node that is the primary; "" for none.
func (p *Patroni) Primary() string {
	if n := p.primary(); n != nil {
		return n.name
	}
	return ""
}
