// Package export writes a dataset in the forms that other programs read: the first design's CSV, OpenDC's workload and
// topology, Kavier's request trace, and JSON lines. Every export is a folder of whole files and a README that says what
// they are of: which runs, what was left out, and whether anything in them is simulated.
package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Folder is where an export goes. Files take their names when all of them are finished: an export that breaks off leaves
// nothing behind.
type Folder struct {
	dir   string
	made  bool // by this export
	force bool
	tmp   string
	names []string
}

// File is one finished file of an export.
type File struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
}

// ErrExists says that a file of the export stands there already.
var ErrExists = errors.New("it exists")

// Create makes the folder, where it is missing, and a place for unfinished files in it. With force, files of an earlier
// export are replaced.
func Create(dir string, force bool) (*Folder, error) {
	_, err := os.Stat(dir)
	made := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the export's folder: %w", err)
	}
	tmp, err := os.MkdirTemp(dir, ".unfinished-")
	if err != nil {
		return nil, fmt.Errorf("making the export's folder: %w", err)
	}
	return &Folder{dir: dir, made: made, force: force, tmp: tmp}, nil
}

// write makes one file; fill writes its contents.
func (f *Folder) write(name string, fill func(io.Writer) error) error {
	if err := f.free(name); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(f.tmp, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	out := bufio.NewWriterSize(file, 1<<20)
	err = fill(out)
	if err == nil {
		err = out.Flush()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	f.names = append(f.names, name)
	return nil
}

// free complains about a name that is taken, before the work and once more after it.
func (f *Folder) free(name string) error {
	_, err := os.Lstat(filepath.Join(f.dir, name))
	if errors.Is(err, fs.ErrNotExist) || err == nil && f.force {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%w; choose another folder, or --force to replace it", ErrExists)
	}
	return fmt.Errorf("writing %s: %w", filepath.Join(f.dir, name), err)
}

// Publish gives the finished files their names.
func (f *Folder) Publish() error {
	for _, name := range f.names {
		if err := f.free(name); err != nil {
			return err
		}
	}
	for _, name := range f.names {
		if err := os.Rename(filepath.Join(f.tmp, name), filepath.Join(f.dir, name)); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

// Close removes what is unfinished, and the folder where nothing came of it.
func (f *Folder) Close() error {
	err := os.RemoveAll(f.tmp)
	if f.made {
		_ = os.Remove(f.dir) // it goes only if it is empty
	}
	return err
}

// drop leaves out a file that turned out to have nothing in it.
func (f *Folder) drop(name string) error {
	f.names = f.names[:len(f.names)-1]
	return os.Remove(filepath.Join(f.tmp, name))
}

// lines counts what passes.
type lines struct {
	w io.Writer
	n int64
}

func (l *lines) Write(p []byte) (int, error) {
	l.n += int64(strings.Count(string(p), "\n"))
	return l.w.Write(p)
}
