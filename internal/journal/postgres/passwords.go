package postgres

import (
	"context"
	"errors"
	"os"
	"strconv"

	"github.com/jackc/pgpassfile"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// perHost returns a configuration for each host of a URL if the password file has
// different passwords for them, because the driver looks up only that of the first host.
// Nil: all hosts have one password.
func perHost(address string, c *pgx.ConnConfig) []*pgx.ConnConfig {
	files, err := FilesOf(address)
	if err != nil || len(c.Fallbacks) == 0 || os.Getenv("PGPASSWORD") != "" {
		return nil
	}
	file, err := pgpassfile.ReadPassfile(files.PasswordFile)
	if err != nil {
		return nil
	}
	password := func(host string, port uint16) string {
		if network, _ := pgconn.NetworkAddress(host, port); network == "unix" {
			host = "localhost"
		}
		return file.FindPassword(host, strconv.Itoa(int(port)), c.Database, c.User)
	}
	if c.Password != password(c.Host, c.Port) {
		return nil // the password was set by other means
	}
	var all []*pgx.ConnConfig
	differ := false
	for _, f := range append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...) {
		if n := len(all) - 1; n >= 0 && all[n].Host == f.Host && all[n].Port == f.Port {
			all[n].Fallbacks = append(all[n].Fallbacks, f) // of the same server, without TLS
			continue
		}
		one := c.Copy()
		one.Host, one.Port, one.TLSConfig, one.Fallbacks, one.Password = f.Host, f.Port, f.TLSConfig, nil, password(f.Host, f.Port)
		differ = differ || one.Password != c.Password
		all = append(all, one)
	}
	if !differ {
		return nil
	}
	return all
}

// connect makes a connection that can encode columns.
func connect(ctx context.Context, address string, c *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := connectFirst(ctx, address, c)
	if err == nil {
		encodeColumns(conn)
	}
	return conn, err
}

// connectFirst makes a connection to the first host that can be used, each with its own
// password.
func connectFirst(ctx context.Context, address string, c *pgx.ConnConfig) (*pgx.Conn, error) {
	all := perHost(address, c)
	if all == nil {
		return pgx.ConnectConfig(ctx, c)
	}
	var errs []error
	for _, one := range all {
		conn, err := pgx.ConnectConfig(ctx, one)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// choosing is for callers that connect by themselves: it leaves only the host that can be
// used, with its password.
func choosing(address string) func(context.Context, *pgx.ConnConfig) error {
	return func(ctx context.Context, c *pgx.ConnConfig) error {
		if perHost(address, c) == nil {
			return nil
		}
		conn, err := connect(ctx, address, c)
		if err != nil {
			return err
		}
		is := conn.Config()
		c.Host, c.Port, c.TLSConfig, c.Fallbacks, c.Password = is.Host, is.Port, is.TLSConfig, is.Fallbacks, is.Password
		return conn.Close(ctx)
	}
}
