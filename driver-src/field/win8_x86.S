/* Imports new in Windows 8. */
#include "import.h"
    IMPORTS_BEGIN
    IMPORT CmCallbackGetKeyObjectIDEx, 20
    IMPORT CmCallbackReleaseKeyObjectIDEx, 4
    IMPORTS_END
