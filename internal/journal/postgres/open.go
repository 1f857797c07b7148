package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/queue"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/steps"
)

// Options of a journal.
type Options struct {
	// URL of the database: postgres://…, or libpq's key=value form. Missing parameters
	// come from libpq's variables and password file. A search_path names the schema, which
	// must exist.
	URL string
	// Planner decides what events lead to. It is required unless ReadOnly.
	Planner journal.Planner
	// Logger logs what no error reports; nil discards it.
	Logger *slog.Logger
	// ReadOnly opens an existing journal to read it, and to append audit entries and
	// intents; every other change fails with [journal.ErrReadOnly].
	ReadOnly bool
	// Recover opens a journal whose recovery is due or did not end. Otherwise it is
	// refused with [journal.ErrCopy].
	Recover bool
	// Now is the clock of a test; nil is the database's.
	Now func() time.Time
	// Mark distinguishes a database from its copies; nil asks the server. It is for tests
	// in which a copy replaces the database itself.
	Mark func() string

	migrations fs.FS  // of tests; nil is this program's
	bounds     bounds // of a test; zero is the usual ones
	tracer     pgx.QueryTracer
}

// A Journal is the durable store in a PostgreSQL database, shared with the other replicas.
// It implements [journal.Journal].
type Journal struct {
	*steps.Journal
	rowTexts rowTexts
	texts    steps.Texts // of queries
	options  Options
	config   *pgx.ConnConfig
	log      *slog.Logger
	clock    *clock
	identity uuid.UUID
	origin   uuid.UUID
	beside   bool
	readers  *pgxpool.Pool
	channel  string // of notifications
	lockKey  int32  // the first half of all advisory locks
	session  *session
	bounds   bounds
	away     atomic.Bool // the last connection failed
	pulse    pulse
	known    atomic.Pointer[uuid.UUID] // the identity that the database has to have
	recovers atomic.Bool               // this process has begun a recovery
	circuits circuitTimes

	queue      *queue.Queue[*request]
	written    chan struct{}
	statements atomic.Int64
	trips      atomic.Int64
	refused    atomic.Bool // somebody waits for a permit

	term  atomic.Int64 // of the last relay lease of this process; 0: none
	freed chan struct{}
	knows int64 // the version of the tables that this program was written for

	// State of the writer.
	conn             *pgx.Conn    // nil while it has to be opened again
	inserted         atomic.Int64 // rows, so far
	replanAt         int64        // of inserted: plans are made again
	accounts         map[string]int64
	names            map[int64]string
	ledgers          map[string]int64
	counts           counts
	permitsForgotten int64 // when the writer deleted permits last
	shops            map[journal.ShopKey]int64
	facts            map[int64]facts

	closeOnce sync.Once
	closeErr  error
	closed    atomic.Bool
}

// oldest is the first version of PostgreSQL that is supported.
const oldest = 140000

// Open opens or creates a journal. Its errors wrap [journal.ErrNewer],
// [journal.ErrNotDurable] or [journal.ErrCopy], or describe what is wrong with the
// database.
func Open(ctx context.Context, o Options) (_ *Journal, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Planner == nil && !o.ReadOnly {
		return nil, errors.New("journal: a planner is needed")
	}
	config, err := parse(o.URL)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		options: o, config: config, log: o.Logger, clock: newClock(o.Now), beside: o.ReadOnly,
		written:  make(chan struct{}),
		queue:    queue.New[*request](),
		freed:    make(chan struct{}, 1),
		accounts: make(map[string]int64), names: make(map[int64]string), ledgers: make(map[string]int64),
		shops: make(map[journal.ShopKey]int64), facts: make(map[int64]facts),
	}
	j.texts.Of = steps.Query.Postgres
	j.Journal, j.rowTexts = steps.New(database{j}, true, o.Planner), rowTexts{make(rows.Statements)}
	if j.bounds = o.bounds; j.bounds == (bounds{}) {
		j.bounds = usual
	}
	j.pulse.process = uuid.New()
	j.prepareForFaults(j.config)
	defer func() {
		if err != nil {
			j.release()
		}
	}()
	if err := j.openReaders(ctx); err != nil {
		return nil, err
	}
	if err := j.check(ctx); err != nil {
		return nil, err
	}
	if err := j.mayUseTables(ctx); err != nil {
		return nil, err
	}
	if err := j.versioned(ctx); err != nil {
		return nil, err
	}
	if err := refuseUnfinished(ctx, j.readers); err != nil {
		return nil, named(readable(err))
	}
	if err := j.identify(ctx); err != nil {
		return nil, err
	}
	if j.beside {
		return j, nil
	}
	if err := j.register(ctx); err != nil {
		return nil, err
	}
	go j.write()
	return j, nil
}

func (j *Journal) openReaders(ctx context.Context) error {
	pool, err := pgxpool.ParseConfig(j.options.URL)
	if err != nil {
		return &URLError{Words: "it cannot be read"}
	}
	pool.ConnConfig = j.config.Copy()
	pool.BeforeConnect = choosing(j.options.URL)
	pool.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		encodeColumns(conn)
		return nil
	}
	pool.MaxConns = 4
	pool.PingTimeout = j.bounds.ping
	if j.readers, err = pgxpool.NewWithConfig(ctx, pool); err != nil {
		return named(readable(err))
	}
	return j.refuseSharedSessions(ctx)
}

// check refuses a server whose commits are not durable.
func (j *Journal) check(ctx context.Context) error {
	var version int
	var fsync, pages, synchronous, encoding string
	var local int64
	before := j.clock.now()
	err := j.readers.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('fsync'), current_setting('full_page_writes'),
		current_setting('synchronous_commit'), current_setting('server_encoding'), coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)`,
		j.clock.given()).Scan(&version, &fsync, &pages, &synchronous, &encoding, &local)
	if err != nil {
		return named(readable(err))
	}
	j.clock.learn(before, j.clock.now(), local)
	switch {
	case version < oldest:
		return fmt.Errorf("journal: PostgreSQL %d is too old: 14 or later", version/10000)
	case fsync != "on":
		return fmt.Errorf("%w: fsync is %s", journal.ErrNotDurable, fsync)
	case pages != "on":
		return fmt.Errorf("%w: full_page_writes is %s", journal.ErrNotDurable, pages)
	case synchronous == "off":
		return fmt.Errorf("%w: synchronous_commit is off", journal.ErrNotDurable)
	case encoding != "UTF8":
		return fmt.Errorf("journal: the database's encoding is %s: it has to be UTF8", encoding)
	}
	return nil
}

// identify reads the journal's identity. The first process creates it.
func (j *Journal) identify(ctx context.Context) error {
	if !j.beside {
		id := uuid.New()
		if _, err := j.readers.Exec(ctx, "INSERT INTO meta (name, value) VALUES ('identity', $1), ('created', $2) ON CONFLICT DO NOTHING",
			id[:], []byte(strconv.FormatInt(j.clock.Now(), 10))); err != nil {
			return named(readable(err))
		}
	}
	var err error
	if j.identity, j.origin, err = j.Identities(ctx); err != nil {
		return err
	}
	j.known.Store(&j.identity)
	// Locks and channels belong to the database, which may contain other journals. The
	// identity changes with a recovery, so it cannot name them.
	return j.read(ctx, "SELECT 'meta'::regclass::oid::bigint", func(r row) error {
		j.channel = "invoicebox_" + strconv.FormatInt(r.int(0), 10)
		j.lockKey = int32(uint32(r.int(0))) // #nosec G115 -- an oid has 32 bits
		return nil
	})
}

// dial opens a connection and checks its settings.
func (j *Journal) dial(ctx context.Context) (*pgx.Conn, error) {
	conn, err := connect(ctx, j.options.URL, j.config)
	if err != nil {
		return nil, err
	}
	var synchronous string
	if err := conn.QueryRow(ctx, "SELECT current_setting('synchronous_commit')").Scan(&synchronous); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	if synchronous == "off" {
		_ = conn.Close(ctx)
		return nil, fmt.Errorf("%w: synchronous_commit is off", journal.ErrNotDurable)
	}
	return conn, nil
}

// Identity is the journal's id. Only a recovery changes it.
func (j *Journal) Identity() uuid.UUID { return j.identity }

// Origin is the identity with which the journal began.
func (j *Journal) Origin() uuid.UUID { return j.origin }

// Close completes the accepted requests and closes the connections. Later calls of any
// method fail with [journal.ErrClosed].
func (j *Journal) Close() error {
	j.closeOnce.Do(func() {
		j.queue.Close()
		if !j.beside {
			<-j.written
		}
		j.closed.Store(true)
		j.release()
	})
	return j.closeErr
}

func (j *Journal) release() {
	if j.session != nil {
		j.session.leave()
	}
	j.disconnect()
	if j.readers != nil {
		j.readers.Close()
	}
}

// Statements returns how many statements the writer has sent, and in how many round trips.
func (j *Journal) Statements() (statements, trips int64) { return j.statements.Load(), j.trips.Load() }

var _ journal.Journal = (*Journal)(nil)
