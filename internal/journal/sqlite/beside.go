package sqlite

import "errors"

// beside runs f in one short transaction on a connection of its own, also while a worker
// holds the file. It waits for the worker's commit, at most for the busy time-out.
func (j *Journal) beside(f func(*conn) error) error {
	c, err := j.connect()
	if err != nil {
		return explain(j.path, err)
	}
	var commits int64
	if err = within(c, func(c *conn) error {
		if err := refuseMoved(c); err != nil {
			return err
		}
		if err := f(c); err != nil {
			return err
		}
		commits, err = j.count(c)
		return err
	}); err != nil {
		err = explain(j.path, err)
	} else {
		j.committed(commits)
	}
	return errors.Join(err, c.close())
}

func within(c *conn, f func(*conn) error) error {
	if _, err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := f(c)
	if err == nil {
		_, err = c.exec("COMMIT")
	}
	if err != nil {
		// After some errors of a commit there is no transaction to roll back.
		_, _ = c.exec("ROLLBACK")
	}
	return err
}
