package contextapi

import (
	"errors"
	"hash/fnv"
	"math"
	"strconv"
	"strings"
	"unicode"
)

const (
	// Dimensions of an embedding, as the database's column has them.
	Dimensions = 384
	// Model is the name of what Embed does: embeddings of two models do not compare.
	Model = "hashed-words-384"
)

// ErrNoWords is for a text that has no direction.
var ErrNoWords = errors.New("the text has no words")

// Embed turns a text into a vector of length 1: texts that share words point
// into like directions. The same text has the same embedding everywhere.
func Embed(text string) ([]float32, error) {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	embedding := make([]float32, Dimensions)
	for _, word := range words {
		hash := fnv.New64a()
		hash.Write([]byte(word))
		sum := hash.Sum64()
		// The sign is of a bit that the index does not depend on.
		if sum>>63 == 0 {
			embedding[sum%Dimensions]++
		} else {
			embedding[sum%Dimensions]--
		}
	}
	length := norm(embedding)
	if length == 0 {
		return nil, ErrNoWords
	}
	for i := range embedding {
		embedding[i] /= float32(length)
	}
	return embedding, nil
}

func norm(v []float32) float64 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

// Vector writes an embedding as pgvector reads it.
func Vector(v []float32) string {
	text := make([]byte, 0, 4*len(v))
	text = append(text, '[')
	for i, x := range v {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendFloat(text, float64(x), 'g', -1, 32)
	}
	return string(append(text, ']'))
}
