/* A co-simulation FMU of the interface FMI 2.0: a tank of 1 m2 that runs out through a hole in its bottom.
   As many real ones do, it has a state that lasts as long as its process, and a log file of a fixed name. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { double level, outlet, time; FILE *log; } Tank;
static double runs; /* outlives `fmi2Reset` and every instance */

enum { LEVEL, OUTLET, RUNS };

const char *fmi2GetTypesPlatform(void) { return "default"; }
const char *fmi2GetVersion(void) { return "2.0"; }
int fmi2SetDebugLogging(void *c, int on, size_t n, const char *const *names) { return 0; }
int fmi2Reset(void *c) { Tank *t = c; if (t->log) fclose(t->log); memset(t, 0, sizeof *t); return 0; }
void *fmi2Instantiate(const char *name, int type, const char *guid, const char *place, const void *calls, int seen, int on)
{ return calloc(1, sizeof(Tank)); }
void fmi2FreeInstance(void *c) { if (c) { fmi2Reset(c); free(c); } }
int fmi2SetupExperiment(void *c, int has_tolerance, double tolerance, double start, int has_stop, double stop)
{ ((Tank *)c)->time = start; return 0; }
int fmi2EnterInitializationMode(void *c) { return 0; }
int fmi2ExitInitializationMode(void *c)
{ Tank *t = c; runs += 1; t->log = fopen("tank.log", "w"); return t->log ? 0 : 3; }
int fmi2Terminate(void *c) { Tank *t = c; if (t->log) { fclose(t->log); t->log = NULL; } return 0; }

int fmi2DoStep(void *c, double at, double step, int keep)
{
    Tank *t = c;
    for (int i = 0; i < 100; i++) {
        t->level -= t->outlet * sqrt(2 * 9.81 * t->level) * step / 100;
        if (t->level < 0) t->level = 0;
    }
    t->time = at + step;
    fprintf(t->log, "%a\n", t->level);
    fflush(t->log);
    return 0;
}

int fmi2GetReal(void *c, const unsigned *refs, size_t n, double *values)
{
    Tank *t = c;
    for (size_t i = 0; i < n; i++)
        values[i] = refs[i] == LEVEL ? t->level : refs[i] == OUTLET ? t->outlet : runs;
    return 0;
}
int fmi2SetReal(void *c, const unsigned *refs, size_t n, const double *values)
{
    Tank *t = c;
    for (size_t i = 0; i < n; i++)
        if (refs[i] == LEVEL) t->level = values[i]; else if (refs[i] == OUTLET) t->outlet = values[i]; else return 3;
    return 0;
}

#define REST(name, ...) int name(void *c, __VA_ARGS__) { return 3; }
REST(fmi2GetInteger, const unsigned *r, size_t n, int *v)
REST(fmi2SetInteger, const unsigned *r, size_t n, const int *v)
REST(fmi2GetBoolean, const unsigned *r, size_t n, int *v)
REST(fmi2SetBoolean, const unsigned *r, size_t n, const int *v)
REST(fmi2GetString, const unsigned *r, size_t n, const char **v)
REST(fmi2SetString, const unsigned *r, size_t n, const char *const *v)
REST(fmi2GetFMUstate, void **s)
REST(fmi2SetFMUstate, void *s)
REST(fmi2FreeFMUstate, void **s)
REST(fmi2SerializedFMUstateSize, void *s, size_t *n)
REST(fmi2SerializeFMUstate, void *s, char *b, size_t n)
REST(fmi2DeSerializeFMUstate, const char *b, size_t n, void **s)
REST(fmi2GetDirectionalDerivative, const unsigned *u, size_t m, const unsigned *k, size_t n, const double *d, double *v)
REST(fmi2SetRealInputDerivatives, const unsigned *r, size_t n, const int *o, const double *v)
REST(fmi2GetRealOutputDerivatives, const unsigned *r, size_t n, const int *o, double *v)
REST(fmi2GetStatus, int k, int *v)
REST(fmi2GetRealStatus, int k, double *v)
REST(fmi2GetIntegerStatus, int k, int *v)
REST(fmi2GetBooleanStatus, int k, int *v)
REST(fmi2GetStringStatus, int k, const char **v)
int fmi2CancelStep(void *c) { return 3; }
