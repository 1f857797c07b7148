package postgres

import "context"

// Waits describes what the writes of this user's sessions wait for at present, as far as
// the server reports it; "" for nothing. It is called when a write takes long.
func (j *Journal) Waits(ctx context.Context) (words string, err error) {
	err = j.read(ctx, `SELECT bool_or(wait_event = 'SyncRep'), current_setting('synchronous_standby_names') FROM pg_stat_activity
		WHERE datname = current_database() AND usename = session_user`, func(r row) error {
		if waits, ok := r[0].(bool); ok && waits {
			words = "its commits wait for a synchronous standby (synchronous_standby_names is \"" + r.text(1) + "\"): start the standby, or have the administrator remove it from that setting"
		}
		return nil
	})
	return words, err
}
