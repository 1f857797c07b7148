package main

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"
	_ "modernc.org/sqlite"

	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// resealed is how many values are sealed again; INVOICEBOX_TEST_RESEALED is another
// number, such as 1000000.
func resealed(t *testing.T) int {
	t.Helper()
	text := os.Getenv("INVOICEBOX_TEST_RESEALED")
	if text == "" {
		return 2_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("INVOICEBOX_TEST_RESEALED is %q", text)
	}
	return n
}

// All values of a large journal are sealed again beside a worker that invites shops,
// and is killed in the middle. The log has the times and the rates.
func TestKeysResealed(t *testing.T) {
	t.Parallel()
	n := resealed(t)
	shops := min(max(n/100, 100), 10_000)
	r := newRig(t, kafkatest.Embedded(t), sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1})
	flags := append(r.service(), "--requests-per-window", "1000000", "--egress-requests-per-window", "1000000")
	sent := 0
	// rate sends events and measures until their results are there.
	rate := func(what string) {
		began := time.Now()
		var events []kafkago.Message
		for range shops {
			sent++
			events = append(events, selectedEvent(fmt.Sprint("shop-", sent), fmt.Sprintf("a%d@example.com", sent)))
		}
		r.cluster.Produce(t, r.topics[schemas.TypeProviderSelected], events)
		awaitWithin(t, 10*time.Minute, "all are invited", func() bool {
			n := int64(0)
			for _, p := range r.cluster.Offsets(t, r.topics[schemas.TypeInvited]) {
				n += p.Next - p.First
			}
			return n >= int64(sent)
		})
		took := time.Since(began)
		t.Logf("%s: %d invitations in %v, %.0f a second", what, shops, took.Round(time.Millisecond), float64(shops)/took.Seconds())
	}
	w := r.worker(flags)
	if w.end() != exitDone {
		t.Fatal("the worker does not end")
	}
	fillSubjects(t, r, n)
	w = r.worker(flags)
	rate("with nothing to seal")
	if w.end() != exitDone {
		t.Fatal("the worker does not end")
	}
	old := r.keys()["sealing primary"]
	if *old.Values < int64(n) {
		t.Fatalf("%+v", old)
	}
	command := func(args ...string) []string { return append(append([]string{"keys"}, args...), r.beside()...) }
	for range 2 {
		r.must(command("rotate")...)
	}
	began := time.Now()
	w = r.worker(flags)
	awaitWithin(t, time.Hour, "a quarter of the values is sealed", func() bool { return w.sealed() >= n/4 })
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = w.cmd.Wait()
	left := *r.keys()["sealing old"].Values
	t.Logf("killed after %v; %d of %d values were left", time.Since(began).Round(time.Millisecond), left, *old.Values)
	if n >= 100_000 && left == 0 {
		t.Error("it was killed after the end")
	}
	again := time.Now()
	w = r.worker(flags)
	rate("while values are sealed")
	t.Logf("at the end of these events %d values were sealed since the start", w.sealed())
	most := 0
	awaitWithin(t, time.Hour, "the pass ends", func() bool {
		most = max(most, w.memory())
		return strings.Contains(w.web.log.String(), "sealed values with the primary key")
	})
	took := time.Since(again)
	t.Logf("the others were sealed within %v after the start, %.0f a second; the worker had at most %d MiB", took.Round(time.Millisecond), float64(left)/took.Seconds(), most>>20)
	if of := *r.keys()["sealing old"].Values; of != 0 {
		t.Errorf("%d values are sealed with the old key", of)
	}
	if got := w.sealed(); int64(got) > left {
		t.Errorf("%d values were left, and %d were sealed", left, got)
	}
	code, errs := exitFailed, ""
	for began := time.Now(); code != exitDone && time.Since(began) < 2*time.Minute; <-time.After(time.Second) {
		code, _, errs = r.command(command("drop", old.ID)...)
	}
	if code != exitDone {
		t.Error(errs)
	}
	rate("after the old key was dropped")
	if w.end() != exitDone {
		t.Error("the worker does not end")
	}
}

// A child is a worker in a process of its own.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	web *running // answers for its listener
}

func (r *rig) worker(flags []string) *child {
	r.t.Helper()
	log := &buffer{}
	cmd := exec.Command(os.Args[0], append([]string{"run"}, flags...)...) // #nosec G204 -- this test binary
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), asProgram+"=1"), log, log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = cmd.Process.Kill() })
	c := &child{t: r.t, cmd: cmd, web: &running{t: r.t, log: log}}
	await(r.t, "the process consumes", func() bool {
		m := listenWord.FindStringSubmatch(log.String())
		if m != nil {
			c.web.addr = m[1]
		}
		return m != nil && strings.Contains(log.String(), `"msg":"consuming"`)
	})
	return c
}

func (c *child) end() int {
	c.t.Helper()
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		c.t.Fatal(err)
	}
	return exitStatus(c.t, c.cmd, time.Minute)
}

var sealedSubjects = regexp.MustCompile(`invoicebox_worker_resealed_values_total\{column="event\.subject"\} (\S+)`)

// sealed is how many subjects the worker has sealed again.
func (c *child) sealed() int {
	_, text := c.web.get("/metrics")
	if m := sealedSubjects.FindStringSubmatch(text); m != nil {
		if n, err := strconv.ParseFloat(m[1], 64); err == nil {
			return int(n)
		}
	}
	return 0
}

var residentMemory = regexp.MustCompile(`\nprocess_resident_memory_bytes (\S+)`)

// memory is what the process has in memory, in bytes; 0 where the platform does not
// report it.
func (c *child) memory() int {
	_, text := c.web.get("/metrics")
	if m := residentMemory.FindStringSubmatch(text); m != nil {
		if n, err := strconv.ParseFloat(m[1], 64); err == nil {
			return int(n)
		}
	}
	return 0
}

// fillSubjects puts events into a journal that no worker has open, each with a code
// that was sealed with the primary key.
func fillSubjects(t *testing.T, r *rig, n int) {
	t.Helper()
	keys, err := keyset.File{Path: r.path("keyset.json")}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+r.path("journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	var identity []byte
	must(db.QueryRowContext(t.Context(), "SELECT value FROM meta WHERE name = 'identity'").Scan(&identity))
	origin, err := uuid.FromBytes(identity)
	must(err)
	keys = keys.Bind(origin.String())
	tx, err := db.BeginTx(t.Context(), nil)
	must(err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(t.Context(), "INSERT INTO shop (account, name) SELECT id, 'filled' FROM account")
	must(err)
	_, err = tx.ExecContext(t.Context(), "INSERT INTO topic (name) VALUES ('filled')")
	must(err)
	add, err := tx.PrepareContext(t.Context(), `INSERT INTO event (id, shop, kind, exit, operation, topic, part, record_offset, event_time, received, digest, type, source, event_id, traceparent, tracestate, uuid, mac, subject, subject_key)
		SELECT ?1, s.id, 2, 1, ?1, t.id, 0, ?1, 0, 0, ?2, '', '', '', '', '', ?3, ?2, ?4, ?5 FROM shop s, topic t WHERE s.name = 'filled' AND t.name = 'filled'`)
	must(err)
	defer func() { _ = add.Close() }()
	for i := range n {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		mac := bytes.Clone(sum[:keyset.MACSize])
		sealed, err := keys.Seal(fmt.Appendf(nil, "code-%d", i), keyset.SubjectAAD("activate", "default", "filled", mac))
		must(err)
		key, err := keyset.SealingKey(sealed)
		must(err)
		_, err = add.ExecContext(t.Context(), i+1, mac, sum[16:], sealed, int64(key))
		must(err)
	}
	must(tx.Commit())
}
