package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"invoicebox-worker/internal/journal"
)

// bounds are how long the journal waits for a database that does not answer. A frozen
// server or a cut network cannot be distinguished from a slow server.
type bounds struct {
	commit  time.Duration // a transaction of the writer, its connection included
	read    time.Duration // a read, and each step of a session
	connect time.Duration // to one server
	ping    time.Duration // between two checks of the session, and for each of them
	standby time.Duration // until all replicas have examined a standby that took over
}

// usual are longer than a stopped replica can hold a lock (see settings). Otherwise all
// replicas would time out with it.
var usual = bounds{commit: 20 * time.Second, read: 30 * time.Second, connect: 5 * time.Second, ping: 5 * time.Second, standby: time.Minute}

// prepareForFaults prepares a connection's settings for faults. A connection that writes needs a
// server that can be written, whatever the URL says.
func (j *Journal) prepareForFaults(c *pgx.ConnConfig) {
	setting(c)
	c.Tracer = j.options.tracer
	// The bound is for each server of the URL: one that does not answer must not use up
	// the time for the others.
	if c.ConnectTimeout == 0 || c.ConnectTimeout > j.bounds.connect {
		c.ConnectTimeout = j.bounds.connect
	}
	if !j.beside {
		c.ValidateConnect = writable
	}
}

var (
	// errStandby reports that a server cannot be written because it follows another.
	errStandby = fmt.Errorf("%w: the server follows another", journal.ErrUnreachable)
	// ErrReadOnly reports that transactions are read only by default. The journal does not
	// override that: managed servers set it before their disk is full, and writes would
	// use up the rest.
	ErrReadOnly = fmt.Errorf("%w: default_transaction_read_only is on for the server, the database or the user; a managed server sets it when its disk is almost full", journal.ErrUnreachable)
)

func writable(ctx context.Context, c *pgconn.PgConn) error {
	got, err := texts(ctx, c, "SELECT current_setting('transaction_read_only'), pg_is_in_recovery()::text", nil)
	switch {
	case err != nil:
		return err
	case got[1] != "false":
		return errStandby
	case got[0] != "off":
		return ErrReadOnly
	}
	return nil
}

// readable removes the address of the database and its user, which must not be reported,
// from an error of the driver. It wraps the error in the contract's error.
func readable(err error) error {
	var refused *pgconn.PgError
	if wrong, ok := errors.AsType[*SettingsError](err); ok {
		return wrong
	}
	if wrong, ok := errors.AsType[*URLError](err); ok {
		return wrong
	}
	if errors.Is(err, journal.ErrUnreachable) && !isConnecting(err) {
		return err
	}
	if errors.As(err, &refused) {
		if words, ok := gone[refused.Code]; ok {
			return fmt.Errorf("%w: %s (SQLSTATE %s)", journal.ErrUnreachable, words, refused.Code)
		}
		switch refused.Code {
		case "53100": // disk_full
			return fmt.Errorf("%w: %w", journal.ErrFull, err)
		case "58030": // io_error
			return fmt.Errorf("%w: %w", journal.ErrDisk, err)
		}
	}
	switch {
	case errors.Is(err, errStandby):
		return errStandby
	case errors.Is(err, ErrReadOnly):
		return ErrReadOnly
	case errors.Is(err, ErrPooled):
		return ErrPooled
	case isConnecting(err) && refused != nil:
		words, ok := refusals[refused.Code]
		if !ok {
			words = "the server refuses the connection (SQLSTATE " + refused.Code + ")"
		}
		return fmt.Errorf("%w: %s", journal.ErrUnreachable, words)
	case isConnecting(err):
		return fmt.Errorf("%w: %s", journal.ErrUnreachable, unconnected(err))
	case refused != nil, errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: it does not answer in time: %w", journal.ErrUnreachable, context.DeadlineExceeded)
	case broken(err):
		return errBroken
	}
	return err
}

// unconnected describes why there is no connection; the driver's text contains the address
// and the user. Of several servers it describes the one with the most specific error.
func unconnected(err error) string {
	_, name := errors.AsType[*net.DNSError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case certificate:
		return "the server's certificate is not accepted (sslmode, sslrootcert)"
	case alert:
		return "the server refuses the TLS handshake"
	case strings.Contains(err.Error(), "authentication method requirement"):
		return "the server asks for the password in the clear, and the connection to it is not verified (sslmode=verify-full, or require_auth=password to allow it)"
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return "the server speaks no TLS (sslmode)"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens at its address"
	case name:
		return "the name of its host cannot be resolved"
	case errors.Is(err, context.DeadlineExceeded), ok && timeout.Timeout():
		return "its host does not answer in time"
	}
	return "no connection can be made"
}

var errBroken = fmt.Errorf("%w: the connection was lost", journal.ErrUnreachable)

// gone are the codes by which a server reports that it, or this session, is temporarily
// unavailable.
var gone = map[string]string{
	"53300": "it accepts no more connections",
	"57P01": "the session was ended by an administrator, or the server stops",
	"57P02": "the server crashed",
	"57P03": "the server starts or stops",
	"57P05": "the session was ended for being idle",
	"25P03": "the session was ended for leaving a transaction open",
	"25006": "the server became read only",
	"08000": "the connection failed",
	"08003": "the connection failed",
	"08006": "the connection failed",
}

// refusals are codes by which a server refuses a connection. The server's own text
// contains names.
var refusals = map[string]string{
	"28000": "the server does not admit the user",
	"28P01": "the server refuses the password",
	"3D000": "the server has no such database",
	"42501": "the user may not connect to the database",
}

// named adds the prefix of the journal to an error without it.
func named(err error) error {
	if strings.HasPrefix(err.Error(), "journal: ") {
		return err
	}
	return fmt.Errorf("journal: %w", err)
}

func isConnecting(err error) bool {
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok
}

// broken reports whether an error means that the connection is lost.
func broken(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err)
}

// bounded runs a read, or a step of a session, within its time bound. If the caller's
// context ended first, the error says whether the database was reachable.
func (j *Journal) bounded(ctx context.Context, f func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, j.bounds.read)
	defer cancel()
	err := f(within)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return j.waitError(ctx)
	case within.Err() != nil:
		// The other connections of the pool are probably broken too.
		j.readers.Reset()
		return readable(context.DeadlineExceeded)
	case transient(err):
		return fmt.Errorf("%w: a statement was canceled, or waited too long", journal.ErrUnreachable)
	}
	return readable(err)
}

// waitError returns the error for a caller whose context ended while it waited.
func (j *Journal) waitError(ctx context.Context) error {
	if j.away.Load() {
		return fmt.Errorf("%w: %w", journal.ErrUnreachable, ctx.Err())
	}
	return ctx.Err()
}
