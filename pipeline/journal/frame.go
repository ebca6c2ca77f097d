package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	magic     = "tracer journal 1\n"
	frameHead = 9 // length, checksum, kind

	// What is longer, in the file or unpacked, is damage: a batch of 4,096 readings unpacks to 0.6 MB.
	largestFrame   = 16 << 20
	largestPayload = 64 << 20
)

type kind byte

const (
	kindHeader    kind = 'H'
	kindReadings  kind = 'R'
	kindOpened    kind = 'O'
	kindAnswering kind = 'A'
	kindClosed    kind = 'C'
	kindEnd       kind = 'E'
)

func (k kind) known() bool {
	switch k {
	case kindHeader, kindReadings, kindOpened, kindAnswering, kindClosed, kindEnd:
		return true
	}
	return false
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers everything of a frame but itself.
func checksum(head, payload []byte) uint32 {
	sum := crc32.Update(0, castagnoli, head[:4])
	sum = crc32.Update(sum, castagnoli, head[8:frameHead])
	return crc32.Update(sum, castagnoli, payload)
}

func (j *Journal) appendJSON(k kind, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	return j.append(k, text)
}

// append writes one frame at the journal's end. What a failed append leaves there, the next one overwrites.
func (j *Journal) append(k kind, payload []byte) error {
	j.frame = append(j.frame[:0], make([]byte, frameHead)...)
	j.frame = j.enc.EncodeAll(payload, j.frame)
	head, packed := j.frame[:frameHead], j.frame[frameHead:]
	if len(packed) > largestFrame || len(payload) > largestPayload {
		return fmt.Errorf("writing the journal: a frame of %d bytes is longer than %d", len(payload), largestPayload)
	}
	binary.LittleEndian.PutUint32(head, uint32(len(packed)))
	head[8] = byte(k)
	binary.LittleEndian.PutUint32(head[4:], checksum(head, packed))
	if _, err := j.file.WriteAt(j.frame, j.size); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	j.size += int64(len(j.frame))
	return nil
}

// DamageError says what of a journal cannot be read. A torn tail is what a power cut leaves; inside, whole frames follow
// the damage, and the replay that found it goes on with the first of them.
type DamageError struct {
	Offset int64
	Bytes  int64 // to the next whole frame, or to the end of the file
	Inside bool
}

func (e *DamageError) Error() string {
	if e.Inside {
		return fmt.Sprintf("the journal is damaged at byte %d: %d bytes there cannot be read", e.Offset, e.Bytes)
	}
	return fmt.Sprintf("the journal ends in %d torn bytes", e.Bytes)
}

// errTorn is a frame that is not whole.
var errTorn = errors.New("torn frame")

// head reads where a frame ends and what it is; io.EOF where nothing follows.
func (j *Journal) head(at int64, head *[frameHead]byte) (k kind, next int64, err error) {
	switch n, err := j.file.ReadAt(head[:], at); {
	case n == 0 && errors.Is(err, io.EOF):
		return 0, 0, io.EOF
	case n < frameHead && errors.Is(err, io.EOF):
		return 0, 0, errTorn
	case n < frameHead:
		return 0, 0, fmt.Errorf("reading the journal: %w", err)
	}
	length, k := binary.LittleEndian.Uint32(head[:]), kind(head[8])
	if length > largestFrame || !k.known() {
		return 0, 0, errTorn
	}
	return k, at + frameHead + int64(length), nil
}

// packed reads the rest of a frame into a buffer and checks it.
func (j *Journal) packed(at, next int64, head *[frameHead]byte, buf []byte) ([]byte, error) {
	n := int(next - at - frameHead)
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if got, err := j.file.ReadAt(buf, at+frameHead); got < n {
		if errors.Is(err, io.EOF) {
			return buf, errTorn
		}
		return buf, fmt.Errorf("reading the journal: %w", err)
	}
	if checksum(head[:], buf) != binary.LittleEndian.Uint32(head[4:]) {
		return buf, errTorn
	}
	return buf, nil
}

// position is a place in the journal, with room for the frame there.
type position struct {
	j       *Journal
	at      int64
	head    [frameHead]byte
	raw     []byte
	payload []byte // of the last frame read
}

// read reads the frame at the position and moves behind it.
func (p *position) read() (kind, error) {
	k, next, err := p.j.head(p.at, &p.head)
	if err != nil {
		return 0, err
	}
	if p.raw, err = p.j.packed(p.at, next, &p.head, p.raw); err != nil {
		return 0, err
	}
	if p.payload, err = p.j.dec.DecodeAll(p.raw, p.payload[:0]); err != nil {
		return 0, errTorn
	}
	p.at = next
	return k, nil
}

// damage is what to say of the frame at an offset that is not whole.
func (j *Journal) damage(at int64) error {
	info, err := j.file.Stat()
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	next, whole := j.wholeAfter(at+1, info.Size())
	if !whole {
		next = info.Size()
	}
	return &DamageError{Offset: at, Bytes: next - at, Inside: whole}
}

// mostTries bounds the search for a frame behind the damage.
const mostTries = 4096

// wholeAfter is where the first whole frame behind a damaged one begins.
func (j *Journal) wholeAfter(from, size int64) (int64, bool) {
	window, buf := make([]byte, 1<<20), []byte(nil)
	tries := 0
	for ; from < size; from += int64(len(window)) - frameHead {
		n, _ := j.file.ReadAt(window, from)
		for i := 0; i+frameHead <= n; i++ {
			var head [frameHead]byte
			copy(head[:], window[i:])
			length := int64(binary.LittleEndian.Uint32(head[:]))
			at := from + int64(i)
			if !kind(head[8]).known() || length == 0 || length > largestFrame || at+frameHead+length > size {
				continue
			}
			var err error
			if buf, err = j.packed(at, at+frameHead+length, &head, buf); err == nil {
				return at, true
			}
			if tries++; tries > mostTries {
				return 0, false
			}
		}
	}
	return 0, false
}
